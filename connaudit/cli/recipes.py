"""How connaudit is run by others: cron, systemd, monitoring systems, CI. Each of these is run by the tests."""

CRON = """\
# Mail when trouble begins, and every four hours while it lasts.
# An unescaped % ends a command here: write 90pct.
MAILTO=dba@example.net
*/5 * * * *  /opt/connaudit/bin/connaudit check -q --changes-only=4h
"""

HEARTBEAT = """\
# Silence is ambiguous: the host may be dead. A service that waits for the
# exit status misses it.
*/5 * * * *  /opt/connaudit/bin/connaudit check --fail-on critical -o /var/lib/connaudit/last.txt; \
curl -fsS -m 10 --retry 5 -o /dev/null --data-binary @/var/lib/connaudit/last.txt https://hc.example.net/ping/UUID/$?
"""

RECORD = """\
# A history: how connections grow, and when the server will be full.
* * * * *  /opt/connaudit/bin/connaudit record -q --deadline 50s
"""

TEXTFILE = """\
# For node_exporter's textfile collector; the file is replaced at once.
* * * * *  /opt/connaudit/bin/connaudit check --exit-zero -f prometheus -o /var/lib/node_exporter/connaudit.prom
"""

SERVICE = """\
# /etc/systemd/system/connaudit.service
[Unit]
Description=Audit of database connections
Wants=network-online.target
After=network-online.target
OnFailure=notify@%n.service

[Service]
Type=oneshot
User=connaudit
StateDirectory=connaudit
LoadCredential=prod-us:/etc/connaudit/prod-us.pw
ExecStart=/opt/connaudit/bin/connaudit check --record
# A warning is no failed unit: it would page like a critical.
SuccessExitStatus=1
TimeoutStartSec=60
"""

TIMER = """\
# /etc/systemd/system/connaudit.timer
[Unit]
Description=Audit of database connections every five minutes

[Timer]
OnCalendar=*:0/5
RandomizedDelaySec=20

[Install]
WantedBy=timers.target
"""

NAGIOS = """\
define command {
  command_name  check_connaudit
  command_line  /opt/connaudit/bin/connaudit $ARG1$ -f nagios -t 15s --config /etc/connaudit/config.toml \
-T $HOSTNAME$ -w $ARG2$ -c $ARG3$
}
define service {
  use                  generic-service
  host_name            prod-eu
  service_description  connections
  check_command        check_connaudit!count!80pct!90pct
}
"""

CI = """\
# Whatever the tests leave behind fails the job; everybody sees the report.
connaudit leaks env:DATABASE_URL --around -- python manage.py test
connaudit count env:DATABASE_URL --app 'shop-tests*' -w count=0 -c count=5 -f github
connaudit check env:DATABASE_URL -f markdown >> "$GITHUB_STEP_SUMMARY"
"""

KUBERNETES = """\
# Thousands of targets, split over ten pods; each audits its share.
apiVersion: batch/v1
kind: CronJob
metadata: { name: connaudit }
spec:
  schedule: "*/5 * * * *"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      completionMode: Indexed
      completions: 10
      parallelism: 10
      activeDeadlineSeconds: 120
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: connaudit
              image: registry.example.net/connaudit:0.1
              args: [check, --config, /etc/connaudit/config.toml, -f, ndjson]
              env:
                - { name: JOB_COMPLETIONS, value: "10" }
              volumeMounts:
                - { name: config, mountPath: /etc/connaudit, readOnly: true }
          volumes:
            - name: config
              secret: { secretName: connaudit, defaultMode: 0400 }  # with passwords in it, for nobody else
"""

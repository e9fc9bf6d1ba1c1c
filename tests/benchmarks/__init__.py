"""How fast connaudit is, and how dear to servers, beside what people would use instead.

python -m tests.benchmarks [--only WORD...] [--record FILE]

timing       whole processes in turn, A B C A B C; what is compared are ratios within a round
installed    connaudit as its users have it, and the peers that are there
crowd        many sessions on a real server
canned       many servers out of one recording, behind a network with a delay
starting, listing, costs, fleets, trips    the measurements
goals        a goal, its limit, what was measured: one row of the table
"""

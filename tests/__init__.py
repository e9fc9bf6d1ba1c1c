"""Real servers, real faults, real subprocesses: what connaudit claims is tested here."""

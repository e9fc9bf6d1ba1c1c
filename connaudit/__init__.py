"""connaudit: who holds this database's connections, why, and what should be changed."""

__version__ = "0.1.0"  # a literal: reading package metadata costs 20 ms at every start

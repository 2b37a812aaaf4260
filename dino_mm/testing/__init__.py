"""Proofs: parity with the published code, and benchmarks. Nothing else imports this."""

"""Export and verification: what an auditor gets, and what they can check with it."""

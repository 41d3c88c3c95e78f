"""Kubernetes' own conformance tests, without Countersign and with it: how we know that nobody is disturbed. `make conformance`."""

"""The errors of the core. Each carries one sentence that names the remedy; the borders translate them.

CountersignError
├── KeyRefused            sshkey.py: a public key that we do not accept
├── SignatureRefused      sshsig.py: an SSHSIG that does not verify
├── ApprovalRefused       approval.py: a signature or its bearer does not count
└── Unable                we could not decide (not synced, deadline passed); never a policy
"""


class CountersignError(Exception):
    """Base of all our errors; `str()` is a sentence for the person who must act."""


class UnableError(CountersignError):
    """We could not decide. Always a refusal, under another name and metric than a policy's."""

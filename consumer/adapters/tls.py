"""What is wrong with a server's certificate, in words for whoever has to mend it."""

from __future__ import annotations

import ssl

_EXPIRED = 10
_OTHER_NAME = frozenset({62, 64})  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH


def certificate_problem(error: ssl.SSLCertVerificationError) -> str:
    """Why the certificate was not accepted, and what to do."""
    if error.verify_code in _OTHER_NAME:
        advice = "connect by a name that is in the certificate"
    elif error.verify_code == _EXPIRED:
        advice = "renew it"
    else:
        advice = "name the authority that signed it with sslrootcert= in the DSN"
    return f"the server's certificate is not accepted: {error.verify_message.rstrip('.')}: {advice}"

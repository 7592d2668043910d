"""certificate.py - a certificate for an address, which is its own authority, made by openssl."""
import datetime, os, subprocess


def make(folder, address, until=2060):
    """Valid from now to the year `until`. Returns the files: certificate, key."""
    os.makedirs(folder, exist_ok=True)
    certificate, key = os.path.join(folder, "ca.crt"), os.path.join(folder, "key")
    days = (datetime.date(until, 1, 1) - datetime.date.today()).days
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days), "-subj", "/CN=hub",
                    "-addext", "subjectAltName=IP:" + address, "-addext", "basicConstraints=critical,CA:false",
                    "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    return certificate, key

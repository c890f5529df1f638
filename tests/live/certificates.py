"""Certificates for tests of TLS, made with openssl: a Certificates holds a CA and issues from it."""
import pathlib
import subprocess


def openssl(*words, before=()):
    subprocess.run([*before, "openssl", *map(str, words)], check=True, capture_output=True)


class Certificates:
    """A CA in a directory: `ca` is its certificate; issue() makes another pair of files."""

    def __init__(self, directory, name="test CA", days=3650, before=()):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca, self.ca_key = self.directory / "ca.crt", self.directory / "ca.key"
        self.make_key(self.ca_key)
        openssl("req", "-x509", "-new", "-key", self.ca_key, "-subj", f"/CN={name}", "-days", days,
                "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", self.ca, before=before)

    @staticmethod
    def make_key(path):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
        path.chmod(0o600)

    def issue(self, name, names="DNS:localhost,IP:127.0.0.1,IP:::1", days=30, usage="serverAuth",
              before=()):
        """(certificate, key) for these names; it expired a day ago if days is negative."""
        certificate, key = (self.directory / f"{name}.{end}" for end in ("crt", "key"))
        request, extensions = (self.directory / f"{name}.{end}" for end in ("csr", "ext"))
        self.make_key(key)
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        extensions.write_text(f"extendedKeyUsage={usage}\n"
                              + (f"subjectAltName={names}\n" if names else ""))
        sign = ("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key,
                "-CAcreateserial", "-extfile", extensions, "-out", certificate, "-days")
        if days < 0:  # which openssl 3.5 does not take
            openssl(*sign, 1, before=("faketime", f"{1 - days} days ago"))
        else:
            openssl(*sign, days, before=before)
        return certificate, key

    def client(self, name="client", **more):
        return self.issue(name, names="", usage="clientAuth", **more)

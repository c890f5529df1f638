"""nginx and haproxy in front of acrelayd, with the settings that ship in deploy/proxy and a
self-signed certificate."""
import pathlib
import subprocess

import harness

SHIPPED = harness.ROOT / "deploy" / "proxy"


def certificate(directory):
    """A key and a certificate in one file each, and both in one (haproxy)."""
    key, cert, both = (directory / name for name in ("key.pem", "cert.pem", "both.pem"))
    if not both.exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=hooks.acme.example", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        both.write_text(cert.read_text() + key.read_text())
    return key, cert, both


class Proxy:
    def __init__(self, directory, upstream):
        self.directory = pathlib.Path(directory)
        self.port = harness.free_port()
        self.log = self.directory / f"{self.name}.log"
        self.key, self.cert, self.both = certificate(self.directory)
        self.config = self.directory / f"{self.name}.conf"
        self.config.write_text(self.text((SHIPPED / self.file).read_text().replace(
            "127.0.0.1:8080", f"127.0.0.1:{upstream}")))
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.command(), stdout=out, stderr=out)
        harness.wait_for(self.name, self.is_up)

    def is_up(self):
        import socket
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def logs(self):
        return "".join(path.read_text() for path in self.directory.glob(f"{self.name}*.log"))

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


class Nginx(Proxy):
    name, file = "nginx", "nginx.conf"

    def text(self, shipped):
        d = self.directory
        server = (shipped.replace("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl")
                  .replace("/etc/ssl/hooks.acme.example.crt", str(self.cert))
                  .replace("/etc/ssl/hooks.acme.example.key", str(self.key))
                  .replace("/var/log/nginx/acrelay.log", f"{d}/nginx-access.log"))
        paths = "".join(f"    {kind}_temp_path {d}/{kind};\n" for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return (f"daemon off;\nmaster_process off;\npid {d}/nginx.pid;\n"
                f"error_log {d}/nginx-error.log;\nevents {{}}\nhttp {{\n{paths}{server}}}\n")

    def command(self):
        return ["nginx", "-c", self.config, "-p", self.directory, "-e",
                self.directory / "nginx-error.log"]


class Haproxy(Proxy):
    name, file = "haproxy", "haproxy.cfg"

    def text(self, shipped):
        ours = (shipped.replace("bind :443", f"bind 127.0.0.1:{self.port}")
                .replace("/etc/ssl/hooks.acme.example.pem", str(self.both)))
        return "global\n    log stdout format raw local0\ndefaults\n    log global\n" + ours

    def command(self):
        return ["haproxy", "-db", "-f", self.config]


KINDS = {"nginx": Nginx, "haproxy": Haproxy}

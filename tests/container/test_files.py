"""Containerfile and compose.yaml agree with each other, with the tree and with acrelay. What they
do when they are run is in test_image.py."""
import concurrent.futures
import http.client
import http.server
import json
import shutil
import subprocess

import harness
import pytest
import yaml

HERE = harness.ROOT / "deploy" / "container"
CONTAINERFILE = (HERE / "Containerfile").read_text()
COMPOSE = yaml.safe_load((HERE / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def instruction(name):
    """The last one's arguments in JSON form."""
    lines = CONTAINERFILE.replace("\\\n", " ").splitlines()
    [*_, last] = [line for line in lines if line.startswith(name + " ")]
    return json.loads(last[last.index("["):])


def test_the_image_is_made_of_what_is_there():
    copies = [line.split()[1:-1] for line in CONTAINERFILE.splitlines()
              if line.startswith("COPY") and "--from" not in line]
    assert copies
    for source in sum(copies, []):
        assert (harness.ROOT / source).exists(), source


def test_compose_names_what_is_there():
    assert set(SERVICES) == {"redis", "receiver", "worker", "proxy"}
    yours = {"./api-token"}
    for service in SERVICES.values():
        if "build" in service:
            build = service["build"]
            assert (HERE / build["context"] / build["dockerfile"]).resolve().exists()
        for source in (volume.split(":")[0] for volume in service["volumes"]):
            assert source in COMPOSE["volumes"] or source in yours or (HERE / source).exists()
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_the_receiver_is_run_as_the_image_says():
    assert SERVICES["receiver"]["command"] == instruction("CMD")
    [_, *check] = SERVICES["receiver"]["healthcheck"]["test"]
    assert check == instruction("HEALTHCHECK")
    [home] = instruction("CMD")[-1:]
    assert f"-o acrelay -g acrelay {home} " in CONTAINERFILE
    assert f"journal:{home}" in SERVICES["receiver"]["volumes"]


def test_the_sample_configuration_is_right(tmp_path):
    text = (HERE / "config" / "acrelay.yaml").read_text()
    for name in ("hook-secret", "api-token"):
        (tmp_path / name).write_text("x" * 44)
        (tmp_path / name).chmod(0o600)
    config = tmp_path / "acrelay.yaml"
    config.write_text(text.replace("/run/secrets/", f"{tmp_path}/"))
    done = subprocess.run([harness.BUILD / "acrelay", "check", "--offline", "--config", config],
                          capture_output=True, text=True)
    assert done.returncode == 0 and "0 errors, 0 warnings" in done.stdout, done.stdout
    settings = yaml.safe_load(text)
    assert settings["receiver"]["instance"]
    assert settings["receiver"]["listen"] == ["0.0.0.0:8080"]
    assert SERVICES["proxy"]["environment"]["ACRELAY_UPSTREAM"] == "receiver:8080"


needs_caddy = pytest.mark.skipif(not shutil.which("caddy"), reason="caddy is not installed")


@needs_caddy
def test_caddy_reads_its_file_with_and_without_the_environment():
    for more in ({}, {"ACRELAY_HOST": "hooks.other.example", "ACRELAY_UPSTREAM": "receiver:8080"}):
        done = subprocess.run(
            ["caddy", "adapt", "--config", harness.ROOT / "deploy" / "proxy" / "Caddyfile"],
            capture_output=True, text=True, env={"PATH": "/usr/bin", "HOME": "/var/tmp", **more})
        assert done.returncode == 0, done.stderr
        for name in more.values() or ("hooks.acme.example", "127.0.0.1:8080"):
            assert f'"{name}"' in done.stdout


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@needs_caddy
def test_caddy_keeps_a_delivery_until_the_receiver_listens(tmp_path):
    """With its body: without a buffer Caddy answers 502 at the first attempt that succeeds."""
    port, upstream, admin = (harness.free_port() for _ in range(3))
    with open(tmp_path / "log", "wb") as log:
        caddy = subprocess.Popen(
            ["caddy", "run", "--adapter", "caddyfile", "--config",
             harness.ROOT / "deploy" / "proxy" / "Caddyfile"], stdout=log, stderr=log, env={
                 "PATH": "/usr/bin", "HOME": str(tmp_path), "CADDY_ADMIN": f"localhost:{admin}",
                 "ACRELAY_HOST": f"http://localhost:{port}",
                 "ACRELAY_UPSTREAM": f"127.0.0.1:{upstream}"})
    try:
        harness.wait_for("caddy", lambda: answer(port, "GET", "/") == (404, b""))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(answer, port, "POST", "/hook/contacts/x", b"type=subscribe")
            with pytest.raises(concurrent.futures.TimeoutError):
                waiting.result(1)
            with http.server.HTTPServer(("127.0.0.1", upstream), Upstream) as server:
                server.handle_request()
            assert waiting.result(10) == (200, b"type=subscribe")
    finally:
        caddy.kill()
        caddy.wait()


def answer(port, method, path, body=None):
    try:
        connection = http.client.HTTPConnection("localhost", port, timeout=20)
        connection.request(method, path, body)
        found = connection.getresponse()
        return found.status, found.read()
    except OSError:
        return None

"""The journal under a receiver, where something lies quietly: the clock, the disk, the limits."""
import subprocess

import pytest

import harness


def run(receiver, *words):
    return subprocess.run([f"{harness.BUILD}/{words[0]}", "-c", str(receiver.config), *words[1:]],
                          capture_output=True, text=True, timeout=30)


# --- where it is ----------------------------------------------------------------------------


def test_a_journal_in_memory_is_refused_by_all_who_are_asked(make_receiver):
    receiver = make_receiver()
    receiver.stop()
    if subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True,
                      text=True).stdout.strip() != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    receiver.config.write_text(receiver.config.read_text().replace(
        f"{receiver.directory}/state", "/dev/shm/acrelay-not-made/state"))
    done = run(receiver, "acrelay", "check")
    assert done.returncode == 73 and "only memory" in done.stdout
    receiver.config.write_text(receiver.config.read_text().replace(
        "/dev/shm/acrelay-not-made/state", "/dev/shm"))
    done = run(receiver, "acrelayd")
    assert done.returncode == 73 and "--force" in done.stderr

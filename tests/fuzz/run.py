"""One fuzz target: replays its corpus, then looks for more. run.py TARGET SECONDS; the built
target is build/fuzz/target/TARGET. Prints executions and coverage; ends with 1 on a crash and
shows how to replay it."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
target, seconds = sys.argv[1:]
out = ROOT / "build" / "fuzz"
corpus = ROOT / "tests" / "fuzz" / "corpus" / target
found = out / f"{target}.found"
found.mkdir(parents=True, exist_ok=True)
seeds = sorted(str(p) for p in corpus.iterdir())
assert seeds, f"no corpus in {corpus}"
program = [out / "target" / target, f"-artifact_prefix={out}/{target}-"]


def run(*words):
    done = subprocess.run([*program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors="replace")
    (out / f"{target}.log").write_text(text)
    if done.returncode != 0:
        print("\n".join(text.splitlines()[-40:]))
        print(f"{target}: replay with {program[0]} FILE, where FILE is named above")
        sys.exit(1)
    return text


run(*seeds)
text = run(f"-max_total_time={seconds}", "-max_len=20000", "-timeout=20",
           "-print_final_stats=1", str(found), str(corpus))
executions = re.findall(r"number_of_executed_units: (\d+)", text)
covered = re.findall(r"cov: (\d+)", text)
print(f"{target}: {len(seeds)} of the corpus replayed, {executions[-1]} executions in {seconds} s, "
      f"{covered[-1]} edges", flush=True)

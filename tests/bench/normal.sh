#!/bin/sh
# Prints what making an event costs: time on the samples, instructions by callgrind (the
# difference between two runs, so that start-up does not count), and how it scales.
set -eu
bench=$1
count() { # rounds -> instructions
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" "$@" 2>&1 |
        awk '/Collected/ { print $4 }'
}
"$bench" 20000
few=$(count 2) many=$(count 12)
bodies=$("$bench" 1 | awk '{ print $1 }')
echo "instructions per event: $(((many - few) / 10 / bodies))"
for bytes in 700 7000 70000 700000 1048576; do
    "$bench" $((70000000 / bytes / 10 + 1)) $bytes
done

#!/bin/sh
# Runs one command in a root, as one of its users: enter.sh ROOT PACKAGES USER COMMAND...
# It is PID 1 of mount and pid namespaces of its own, so no mount and no process outlives it:
#
#   unshare --mount --pid --fork --kill-child sh enter.sh ...
set -eu
root=$1 packages=$2 user=$3
shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp" # as on Debian 13
mount -t tmpfs tmpfs "$root/run"
mount --bind "$packages" "$root/var/cache/apt/archives"
cd "$root" # not chroot: in one no user has namespaces of its own
pivot_root . mnt
umount -l /mnt
home=/home/$user
[ "$user" != root ] || home=/root
terminal=
[ ! -t 0 ] || terminal=--ctty
# A session of its own, which owns the terminal, if there is one: Ctrl-C is for the command
# alone. Not exec: this shell waits for the processes that lose their parent.
setsid $terminal setpriv --reuid="$user" --regid="$user" --init-groups \
    env -i HOME="$home" USER="$user" LOGNAME="$user" TERM=dumb SHELL=/bin/sh \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c 'cd ~/acrelay && exec "$@"' sh "$@"

#!/bin/sh
# Builds the Debian package from what `make install` installs: build.sh VERSION DIRECTORY.
# Needs dpkg-dev. No debian/ directory: nothing but this file would be in it.
set -eu
version=$1-1 out=$2
umask 022
arch=$(dpkg --print-architecture)
root=$out/root
rm -rf "$out"
mkdir -p "$root/DEBIAN" "$root/etc/acrelay" "$out/debian"
make -s install VERSION="$1" DESTDIR="$root" PREFIX=/usr
doc=$root/usr/share/doc/acrelay

# what Debian wants elsewhere or otherwise
mkdir -p "$root/usr/share/zsh/vendor-completions"
mv "$root/usr/share/zsh/site-functions/_acrelay" "$root/usr/share/zsh/vendor-completions/"
rmdir "$root/usr/share/zsh/site-functions"
mkdir "$doc/examples"
mv "$doc/acrelay.yaml" "$doc/proxy" "$doc/consumers" "$doc/redis" "$doc/monitoring" "$doc/examples/"
{
    echo 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/'
    echo 'Upstream-Name: acrelay'
    echo
    echo 'Files: *'
    sed -n 's/^Copyright (c) /Copyright: /p' "$doc/LICENSE"
    echo 'License: Expat'
    sed -n '/^Permission/,$s/^/ /p' "$doc/LICENSE" | sed 's/^ $/ ./'
} >"$doc/copyright"
rm "$doc/LICENSE"
cat >"$doc/changelog.Debian" <<END
acrelay ($version) stable; urgency=medium

  * What changed: see changelog.gz.

 -- The acrelay developers <acrelay@example.com>  $(date -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")
END
mv "$doc/CHANGELOG.md" "$doc/changelog"
gzip -9n "$doc/changelog" "$doc/changelog.Debian"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
for program in acrelayd acrelay-worker acrelay; do
    strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/usr/bin/$program"
done
find "$root" -type d -exec chmod 755 {} +

# dpkg-shlibdeps looks for a source package around it
printf 'Source: acrelay\n\nPackage: acrelay\nArchitecture: any\nDescription: x\n' \
    >"$out/debian/control"
depends=$(cd "$out" && dpkg-shlibdeps -O root/usr/bin/* 2>/dev/null | sed 's/^shlibs:Depends=//')
cat >"$root/DEBIAN/control" <<END
Package: acrelay
Version: $version
Architecture: $arch
Maintainer: The acrelay developers <acrelay@example.com>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends, procps, tzdata
Recommends: redis-server, ca-certificates
Suggests: caddy | nginx | haproxy
Section: net
Priority: optional
Description: publish webhooks from ActiveCampaign to Redis Streams
 ActiveCampaign posts each webhook once: it never retries, does not sign
 requests and sends no event id. acrelay stores each post durably on disk
 before it answers, turns it into one clean event, and adds the event to a
 Redis Stream exactly once and in order. A companion worker keeps the webhooks
 at ActiveCampaign in sync with a configuration file.
END
cat >"$root/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    # which links an administrator made, so that purge removes them
    for unit in acrelayd.socket acrelayd.service acrelay-worker.service acrelay-https.service; do
        deb-systemd-helper unmask $unit >/dev/null || true
        deb-systemd-helper update-state $unit >/dev/null || true
    done
    # The socket unit keeps every delivery while the receiver is replaced. A first installation
    # starts nothing: there is no configuration yet.
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload || true
        if [ -n "$2" ]; then
            deb-systemd-invoke try-restart acrelayd.service acrelay-worker.service \
                'acrelayd@*.service' 'acrelay-worker@*.service' || true
        fi
    fi
    if [ ! -e /etc/acrelay/acrelay.yaml ]; then
        cat <<'STEPS'
acrelay: installed; nothing runs yet. Next, as root:
  acrelay init     asks for account, URLs and API token, and writes /etc/acrelay/acrelay.yaml
  acrelay setup    goes from there to the first event over HTTPS (with Debian's caddy; or
                   --no-https and a proxy of your own, see /usr/share/doc/acrelay/examples/proxy)
STEPS
    fi
fi
END
cat >"$root/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop acrelay-https.service acrelayd.socket 'acrelayd@*.socket' acrelayd.service \
        'acrelayd@*.service' acrelay-worker.service 'acrelay-worker@*.service' || true
fi
END
cat >"$root/DEBIAN/postrm" <<'END'
#!/bin/sh
set -e
if [ "$1" = purge ]; then
    if command -v deb-systemd-helper >/dev/null; then
        deb-systemd-helper purge acrelayd.socket acrelayd.service acrelay-worker.service \
            acrelay-https.service || true
    fi
    # of the units of several accounts, which that does not know
    find /etc/systemd/system -path '*.wants/acrelay*@*' -type l -delete 2>/dev/null || true
    # the journals; configuration and secrets in /etc/acrelay are yours and stay
    rm -rf /var/lib/acrelay /var/lib/acrelay-* /var/lib/private/acrelay /var/lib/private/acrelay-* \
        /var/lib/caddy-acrelay /var/lib/private/caddy-acrelay
    if [ -n "$(ls -A /etc/acrelay 2>/dev/null)" ]; then
        echo "acrelay: left: /etc/acrelay (your configuration and secrets)"
    fi
fi
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload || true
fi
END
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"
(cd "$root" && find usr -type f -exec md5sum {} +) >"$root/DEBIAN/md5sums"
dpkg-deb --root-owner-group --build "$root" "$out/acrelay_${version}_$arch.deb"

#!/bin/sh
# Collects into the folder $1 a shell, the packet filter tools, their plug-ins and every library these load.
set -eu
out=$1

copy() {
  mkdir -p "$out$(dirname "$1")"
  cp -L "$1" "$out$1"
}

mkdir -p "$out/bin" "$out/etc" "$out/run" "$out/root" "$out/tmp"
chmod 1777 "$out/tmp"
echo 'root:x:0:0::/root:/bin/sh' > "$out/etc/passwd"

copy /bin/busybox
for name in sh cat sleep mv ln ip hostname ls sed; do ln -s busybox "$out/bin/$name"; done

# The plug-ins' own libraries count too: without libm, Services with several endpoints fail.
programs="/usr/sbin/nft /usr/sbin/xtables-nft-multi /usr/sbin/conntrack $(echo /usr/lib/*/xtables/*.so)"
libraries=$(ldd $programs | tr ' \t' '\n\n' | grep '^/.*[^:]$' | sort -u)
for file in $programs $libraries; do copy "$file"; done
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  ln -s xtables-nft-multi "$out/usr/sbin/$name"
done

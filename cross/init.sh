#!/usr/bin/busybox sh
# The first program of a booted device: starts the agent before there is a
# network, then does what the job on the host asks for, a word a line on the
# console. Its answers begin with "@boot".
/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/bin:/usr/sbin
tell() { echo "@boot $*"; }

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run/kitelet
mount -t devpts pts /dev/pts
stty -echo
echo 3 >/proc/sys/kernel/printk
ip link set lo up

# A device whose kernel does not read the clock of the machine starts here too.
[ "$(date +%Y)" = 1970 ] || date -s @60 >/dev/null

kitelet run -c /etc/kitelet.d &
agent=$!

httpd -h /www -p 127.0.0.1:80
dropbearkey -t ed25519 -f /etc/hostkey >/dev/null 2>&1
dropbear -r /etc/hostkey -E -p 127.0.0.1:22

tell ready "kernel=$(uname -r)" "machine=$(uname -m)" "clock=$(date +%s)"

while read -r word value; do
    case $word in
    link)
        for module in $(cat /modules/order); do
            insmod "/modules/$module" || echo "cannot load $module"
        done
        # Buses that are looked through later than their driver is loaded.
        for wait in 1 2 3 4 5 6 7 8 9 10; do
            for device in /sys/class/net/*; do
                [ "${device##*/}" = lo ] || [ ! -e "$device/device" ] || break 2
            done
            sleep 1
        done
        device=${device##*/}
        ip link set "$device" up
        ip addr add 10.0.2.15/24 dev "$device"
        ip route add default via 10.0.2.2
        tell link "device=$device"
        ;;
    measure)
        # The fields after the name, which may hold blanks: utime and stime are
        # the 14th and 15th (proc(5)).
        stat=$(cat /proc/$agent/stat 2>/dev/null)
        # shellcheck disable=SC2086 # words
        set -- ${stat##*) }
        memory=$(awk '/^(VmRSS|RssAnon|Threads):/ { sub(":", "="); printf "%s%s ", $1, $2 }' /proc/$agent/status)
        tell measure "$memory" "utime=${12}" "stime=${13}" "files=$(ls /proc/$agent/fd | wc -l)" "clock=$(date +%s)"
        ;;
    clock)
        date -s "@$value" >/dev/null
        tell clock "clock=$(date +%s)"
        ;;
    end)
        kill -TERM $agent
        wait $agent
        tell end "status=$?"
        sync
        poweroff -f
        ;;
    esac
done

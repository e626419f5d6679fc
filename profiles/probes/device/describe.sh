#!/bin/sh
# What this device is, one NAME=TEXT a line; what it does not tell is left out. POSIX sh, Android's too.
say() { if [ -n "$2" ]; then printf '%s=%s\n' "$1" "$2"; fi; }
field() { sed -n "s/^$2[^:]*: *//p" "$1" 2>/dev/null | head -n 1; }
text() { { tr -d '\000' <"$1" | head -n 1; } 2>/dev/null; }

say system "$(uname -s) $(uname -r)"
say machine "$(uname -m)"
say cores "$(nproc 2>/dev/null)"
say boot "$(text /proc/sys/kernel/random/boot_id)"
say cpu "$(field /proc/cpuinfo 'model name')"
say memory "$(field /proc/meminfo MemTotal)"
say memory_free "$(field /proc/meminfo MemAvailable)"
say governor "$(text /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)"
say load "$(cut -d' ' -f1 /proc/loadavg 2>/dev/null)"
say clock "$(date +%s)"
if command -v getprop >/dev/null 2>&1; then
    say android "$(getprop ro.build.version.release)"
    say android_sdk "$(getprop ro.build.version.sdk)"
    say build "$(getprop ro.build.fingerprint)"
    say board "$(getprop ro.product.manufacturer) $(getprop ro.product.model)"
    say model "$(getprop ro.product.model)"
    say soc "$(getprop ro.soc.manufacturer) $(getprop ro.soc.model)"
    say platform "$(getprop ro.board.platform)"
    say abi "$(getprop ro.product.cpu.abi)"
else
    board=$(text /proc/device-tree/model)
    say board "${board:-$(text /sys/class/dmi/id/product_name)}"
fi
if command -v dumpsys >/dev/null 2>&1; then
    say battery "$(dumpsys battery 2>/dev/null | tr '\r\n' '  ')"
    say thermal_status "$(dumpsys thermalservice 2>/dev/null | sed -n 's/^Thermal Status: *//p' | head -n 1)"
fi

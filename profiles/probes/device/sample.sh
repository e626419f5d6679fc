#!/bin/sh
# Reads power, temperature and clocks until it is ended: `sh sample.sh SECONDS`, the time between two samples.
# First one line a source, `N KEY KIND NAME`; then `S UPTIME KEY=NUMBER...`, and where the phone has power rails
# (ODPM), about once a second `P UPTIME` and what its power.stats service prints. POSIX sh, Android's too.
keys=
add() { # KIND NAME FILE
    if read -r _ 2>/dev/null <"$3"; then
        count=$((count + 1))
        printf 'N k%d %s %s\n' "$count" "$1" "$2"
        keys="$keys k$count:$3"
    fi
}
count=0
for folder in /sys/class/thermal/thermal_zone*; do
    if [ "$count" -lt 40 ] && read -r type 2>/dev/null <"$folder/type"; then add mC "$type" "$folder/temp"; fi
done
for file in /sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq; do
    policy=${file%/scaling_cur_freq}
    add kHz "${policy##*/}" "$file"
done
for folder in /sys/class/power_supply/*; do
    type=
    read -r type 2>/dev/null <"$folder/type"
    if [ "$type" = Battery ]; then
        add uV battery "$folder/voltage_now"
        add uA battery "$folder/current_now"
    fi
done
rails=
service=android.hardware.power.stats.IPowerStats/default
if command -v dumpsys >/dev/null 2>&1 && dumpsys $service 2>/dev/null | grep -q mWs; then rails=yes; fi
asked=0
while :; do
    read -r now _ </proc/uptime || exit 1
    line="S $now"
    for key in $keys; do
        if read -r value 2>/dev/null <"${key#*:}"; then line="$line ${key%%:*}=$value"; fi
    done
    printf '%s\n' "$line" || exit 0
    if [ -n "$rails" ] && [ "${now%.*}" -gt "$asked" ]; then
        asked=${now%.*}
        printf 'P %s\n' "$now"
        dumpsys $service | grep mWs || rails=
    fi
    sleep "$1"
done

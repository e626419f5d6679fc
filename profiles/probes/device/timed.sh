#!/bin/sh
# Runs a command between two lines `AT UPTIME`, both outputs on stdout; its status is this script's.
read -r now _ </proc/uptime
echo "AT $now"
"$@" 2>&1
status=$?
read -r now _ </proc/uptime
echo
echo "AT $now"
exit $status

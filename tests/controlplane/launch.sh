#!/bin/sh
# launch.sh RECORD COMMAND...: records its pid and start time, then becomes the command. The record is there before the
# command is, so that no process can run unrecorded, however the harness dies.
record=$1
shift
{
    echo $$
    cut -d' ' -f22 "/proc/$$/stat" 2>/dev/null || ps -o lstart= -p $$
} >"$record.new" && mv "$record.new" "$record" && exec "$@"

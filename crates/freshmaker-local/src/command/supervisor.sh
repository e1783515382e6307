# Runs one program, records how it ended and leaves nothing behind. Started as the leader of a process group of its own:
#   freshmaker-supervisor <directory> <log bytes> <timeout, s> <grace, s> <program> [argument]...
# with the locked lock file as descriptor 0 and the two ends of a pipe as 1 (to write) and 2 (to read).
dir=$1 log_bytes=$2 timeout=$3 grace=$4
shift 4
# The lock stays open as 9, here and in the program: it is held exactly as long as one of them lives.
exec 9<&0 8<&2 0</dev/null 2>>"$dir/log"
trap '' HUP
# Caught, not ignored: the program gets the default action, the supervisor survives to record the end.
trap : TERM
program_path=${PATH-/usr/bin:/bin}
PATH=/usr/bin:/bin:$program_path

# A file that can be seen is complete.
put() {
    printf '%s\n' "$2" >"$dir/$1.tmp" && mv -f "$dir/$1.tmp" "$dir/$1"
}

put pgid "$$" || exit 1
# Who cancels writes the mark and then reads the group; so one of the two sees the other.
if [ -e "$dir/cancel" ]; then
    put status 143
    exit 0
fi

# The log: its beginning and its end are kept, and what is in between is read and counted, so that the program never waits
# for a reader. What a read returns is written at once, so that the log can be followed; after a short one there is a
# pause, for its own cost. The end is added when it is known, because it has the error of most programs.
(
    trap '' TERM
    exec 9<&- 0<&8 8<&- >>"$dir/log"
    tail=$((log_bytes / 4))
    left=$((log_bytes - tail))
    while [ "$left" -gt 0 ]; do
        bytes=65536
        [ "$left" -ge "$bytes" ] || bytes=$left
        got=$(dd bs="$bytes" count=1 2>/dev/null | tee -a "$dir/log" | wc -c)
        [ "$got" -gt 0 ] || break
        left=$((left - got))
        [ "$got" -ge 4096 ] || sleep 0.1 2>/dev/null || sleep 1
    done
    # Numbers and the end go through files: what a program writes need not be text.
    { tee /dev/fd/3 | wc -c >"$dir/log.rest"; } 3>&1 | tail -c "$tail" >"$dir/log.end"
    left_out=$(($(cat "$dir/log.rest") - tail))
    [ "$left_out" -le 0 ] || printf '\n[%d bytes were not kept]\n' "$left_out"
    cat "$dir/log.end"
    rm -f "$dir/log.rest" "$dir/log.end"
) &
drain=$!
exec 8<&-

# The watch: stops the group when its time is up, and soon after the supervisor is gone, because then nobody would
# learn how the program ended.
(
    trap '' TERM
    exec 9<&- >/dev/null
    left=$timeout
    while [ "$left" -gt 0 ]; do
        step=10
        [ "$left" -ge "$step" ] || step=$left
        sleep "$step" || exit 1
        left=$((left - step))
        kill -0 "$$" 2>/dev/null || kill -s KILL 0
    done
    : >"$dir/timeout"
    kill -s TERM 0
    sleep "$grace"
    kill -s KILL 0
) &

PATH=$program_path "$@" 2>&1
code=$?

# What the program left behind may hold the pipe open for ever; what it wrote itself is read by then.
exec >&2
( exec 9<&-; sleep 1; kill -s KILL "$drain" ) &
wait "$drain"
put status "$code"
# Everything that is left in the group, the supervisor included.
kill -s KILL 0

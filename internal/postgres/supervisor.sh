# Runs one PostgreSQL server for as long as somebody writes, or could write, to
# the FIFO on descriptor 3. A shell, because it must outlive any Go process and
# needs nothing installed. Descriptor 4 may hold the lock of the data directory.
#
# bin    the directory of initdb and postgres
# run    the run directory; removed at the end
# data   the database cluster; created if missing
# grace  seconds to wait for a next user after the last one
# stop   the signal that ends the server: QUIT (at once) or INT (cleanly)
# sync   a further option for initdb, or nothing
bin=$1 run=$2 data=$3 grace=$4 stop=$5 sync=$6
shift 6 # the rest are arguments of postgres

umask 077
cd "$run" || exit

# Letters beyond ASCII are letters only with a UTF-8 character type, on which
# pg_trgm and lower() depend; its name varies. The order of C is the same
# everywhere. Renamed at the end, so that a cluster is complete or not there.
initialise() {
    [ -e "$data/PG_VERSION" ] && return
    if [ -e "$data" ]; then
        echo "FATAL: $data exists but is not a database cluster"
        return 1
    fi
    for ctype in C.UTF-8 en_US.UTF-8 UTF-8 C; do
        rm -rf "$data.new"
        "$bin/initdb" -D "$data.new" -U postgres -A trust -E UTF8 \
            --locale=C --lc-ctype="$ctype" --no-instructions $sync 3<&- 4<&- &&
            mv "$data.new" "$data" && return
    done
    return 1
}

# Waits until all users are gone. Each says so with a line when it comes.
watch() {
    idle=0
    while :; do
        if read -r line; then
            idle=0
        elif [ "$idle" -ge "$grace" ]; then
            break
        else
            idle=$((idle + 1))
            sleep 1 <&-
        fi
    done
    # Without the shared name no further user can come; one that came between
    # the last look and the renaming is served to its end.
    if [ -e shared ]; then
        mv shared private
        while read -r line; do :; done
    fi
    exec <&-
    # TERM first: until postgres handles signals it ignores the other one, as
    # all that a shell starts in the background. Later, the last one counts.
    kill -TERM "$1"
    kill -"$stop" "$1"
}

if initialise; then
    "$bin/postgres" -D "$data" "$@" 3<&- 4<&- &
    server=$!
    echo "$server" >pid
    # In parentheses: for a function alone the shell would keep copies of the
    # descriptors to restore them.
    (watch "$server") <&3 3<&- 4<&- &
    watcher=$!
    exec 3<&-
    wait "$server"
    kill "$watcher"
fi
cd /
rm -rf "$run" || { sleep 1; rm -rf "$run"; }
rmdir "${run%/*}" 2>/dev/null

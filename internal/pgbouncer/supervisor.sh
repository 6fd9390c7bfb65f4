# Runs one PgBouncer for as long as somebody could write to the pipe on descriptor 3. A shell, because it must outlive the
# process at the other end of the pipe, however that one ends.
#
# bin   the program
# run   its directory, with its configuration; removed at the end
bin=$1 run=$2

cd "$run" || exit
ulimit -c 0
ulimit -n "$(ulimit -H -n)" # two for each client

"$bin" "$run/pgbouncer.ini" 3<&- &
pooler=$!
# At once: there is nothing to be saved, and other signals mean different things to different versions.
(
    while read -r line; do :; done
    kill -KILL "$pooler"
) <&3 3<&- &
watcher=$!
exec 3<&-
wait "$pooler"
kill "$watcher"
cd /
rm -rf "$run"

# Runs one job and keeps its exit code, whoever asks for it later. Arguments: folder, work directory, niceness, command.
folder=$1 work=$2 nice=$3
shift 3
cd "$work" || exit 1
trap : TERM # the group gets the signal; the supervisor must live to see how the job took it
nice -n "$nice" "$@" >"$folder/stdout" 2>"$folder/stderr" </dev/null &
job=$!
while :; do
    wait "$job"
    code=$?
    kill -0 "$job" 2>/dev/null || break
done
echo "$code" >"$folder/exit.new" && mv "$folder/exit.new" "$folder/exit"

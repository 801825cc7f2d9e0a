# Runs one job and keeps its exit code, whoever asks for it later. Arguments: folder, work directory, niceness, command.
folder=$1 work=$2 nice=$3
shift 3
trap : TERM # the group gets the signal; the supervisor must live to see how the job took it
echo $$ >"$folder/pid.new" && mv "$folder/pid.new" "$folder/pid" # here, not by who starts it: now the group exists
cd "$work" || exit 1
nice -n "$nice" "$@" >"$folder/stdout" 2>"$folder/stderr" </dev/null &
job=$!
while :; do
    wait "$job"
    code=$?
    kill -0 "$job" 2>/dev/null || break
done
echo "$code" >"$folder/exit.new" && mv "$folder/exit.new" "$folder/exit"

#!/bin/sh
# Runs a command while holding a lock, so that it runs once at a time on all machines together.
#
#   ./lock-around-a-job.sh LOCK COMMAND [ARGUMENT...]
#   ./lock-around-a-job.sh backup sh -c 'echo "backing up, token $COPYCAT_LOCK_TOKEN"; sleep 10'
#
# It waits until the lock is free, behind those that came before. When the lock is lost, the command gets SIGTERM and
# the exit code is 70. Else it is the command's. The program `copycat` has the same and more: `copycat lock`.
#
# COPYCAT: the servers, separated by spaces (http://127.0.0.1:8700). TTL: seconds until others get the lock when this
# script, or its machine, is suddenly gone (15). LOCK is made of letters, digits, - _ . here.
set -eu

: "${COPYCAT:=http://127.0.0.1:8700}" "${TTL:=15}"
[ $# -ge 2 ] || { echo "usage: $0 LOCK COMMAND [ARGUMENT...]" >&2; exit 2; }
lock=$1
shift

patience=30 session='' job='' keeper='' files=$(mktemp -d)
answer=$files/answer

# ask METHOD PATH [CURL-OPTION...]
# Asks one server after the other, again and again, until one has an answer: its status is in $status, the rest in the
# file $answer. Only for requests that may be sent twice. Fails when $patience seconds were not enough.
ask() {
    method=$1 path=$2
    shift 2
    give_up=$(($(date +%s) + patience))
    while :; do
        for server in $COPYCAT; do
            # In the background, so that signals are heard meanwhile.
            curl -sS --connect-timeout 2 --max-time 5 -w '\n%{http_code}' -X "$method" "$@" "$server$path" \
                >"$answer" 2>/dev/null &
            wait $! || continue
            status=$(tail -n 1 "$answer")
            case $status in
                # Errors say themselves whether the same request may do better later.
                429 | 5??) grep -q '"retryable":true' "$answer" || return 0 ;;
                *) return 0 ;;
            esac
        done
        [ "$(date +%s)" -lt "$give_up" ] || return 1
        sleep 1 >/dev/null 2>&1 &
        wait $!
    done
}

# number FIELD: the last number of that name in the answer.
number() {
    sed -n 's/.*"'"$1"'":\([0-9][0-9]*\).*/\1/p' "$answer"
}

die() {
    echo "${0##*/}: $1" >&2
    exit "${2-1}"
}

# A shell that has just been forked may miss a signal, hence the file.
stop_keeping() {
    : >"$files/ended"
    [ -z "$keeper" ] || { kill "$keeper" && wait "$keeper"; } 2>/dev/null || :
    keeper=''
}

# shellcheck disable=SC2317 # the trap below gets here
clean_up() {
    trap '' INT TERM
    [ -z "$job" ] || { kill "$job" 2>/dev/null && wait "$job"; } || :
    stop_keeping
    # With the session, the lock goes, or the place in its queue.
    patience=5
    [ -z "$session" ] || ask DELETE "/v1/sessions/$session" || :
    rm -rf "$files" || :
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

nap() {
    sleep "$1" >/dev/null 2>&1 &
    wait $!
}

# keep SENT: says every third of the TTL that we are alive, and looks whether the lock is still ours. Ends when that is
# not certain any more: TTL seconds after the last sign of life that arrived was sent.
keep() {
    # Told to end, it leaves nothing running.
    trap '{ kill $!; wait; } 2>/dev/null; exit 0' TERM
    sent=$1 answer=$files/keeper attempt=$((TTL / 3 > 0 ? TTL / 3 : 1))
    while [ ! -e "$files/ended" ]; do
        now=$(date +%s)
        patience=$((sent + TTL - attempt - now))
        ask POST "/v1/sessions/$session/keep-alive" --max-time "$attempt" || break
        [ "$status" = 200 ] || break
        sent=$now
        # An operator may have taken it away.
        ask GET "/v1/locks/$lock/verify?token=$token" --max-time "$attempt" || break
        [ "$status" = 200 ] || break
        nap "$attempt"
    done
    [ ! -e "$files/ended" ] || exit 0
    echo "${0##*/}: the lock $lock is lost; the command is stopped" >&2
    : >"$files/lost"
    kill "$job" 2>/dev/null || :
    nap 5
    kill -9 "$job" 2>/dev/null || :
}

# Whoever repeats this request with the same key gets the same session.
sent=$(date +%s)
ask POST /v1/sessions -H "Idempotency-Key: $(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" \
    -d '{"timeout":"'"$TTL"'s","name":"lock-around-a-job.sh"}' || die 'no server answers' 69
[ "$status" = 201 ] || die "no session: $(cat "$answer")" 69
session=$(number session)

# Each request waits for half the session's timeout at most, and counts as a sign of life. `queue` keeps our place until
# the next. Asking again does nothing twice.
while :; do
    sent=$(date +%s)
    ask PUT "/v1/locks/$lock?session=$session&wait=30s&queue" --max-time $((TTL / 2 + 5)) || die 'no server answers' 69
    case $status in
        200) break ;;
        202) ;;
        *) die "no lock: $(cat "$answer")" 69 ;;
    esac
done
token=$(number token)

COPYCAT_LOCK_TOKEN=$token COPYCAT_SESSION=$session "$@" &
job=$!
# The last sign of life went with the request for the lock.
keep "$sent" &
keeper=$!
code=0
wait "$job" || code=$?
job=''
stop_keeping
[ ! -e "$files/lost" ] || exit 70
exit "$code"

#!/bin/sh
# Counts, with servers that may fail at any moment: each step is counted exactly once, though it may be sent many times.
#
#   ./exactly-once.sh KEY TIMES
#   COPYCAT='http://127.0.0.1:8700 http://127.0.0.1:8701 http://127.0.0.1:8702' ./exactly-once.sh counter 10
#
# An answer that is lost says nothing about its command. There are two ways to ask again without harm:
# - an Idempotency-Key: for 10 minutes, the same request with the same key is carried out once, and gets the first
#   answer. Nothing else is needed. The first TIMES steps are made so.
# - a session whose commands are numbered from 1: for as long as the session lives, and in order. The other TIMES steps.
#
# COPYCAT: the servers, separated by spaces (http://127.0.0.1:8700). KEY is made of letters, digits, - _ . / here.
set -eu

: "${COPYCAT:=http://127.0.0.1:8700}"
[ $# -eq 2 ] || { echo "usage: $0 KEY TIMES" >&2; exit 2; }
key=$1 times=$2

patience=60 session='' answer=$(mktemp)

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

clean_up() {
    trap '' INT TERM
    patience=5
    [ -z "$session" ] || ask DELETE "/v1/sessions/$session" || :
    rm -f "$answer"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

unique() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

# look: what the counter is, and the condition under which it may be set.
look() {
    ask GET "/v1/kv/$key?meta" || die 'no server answers'
    case $status in
        200)
            value=$(sed -n 's/.*"value":"\([0-9]*\)".*/\1/p' "$answer")
            [ -n "$value" ] || die "$key is no number"
            condition="If-Match: \"$(number version)\""
            ;;
        404) value=0 condition='If-None-Match: *' ;;
        *) die "$(cat "$answer")" ;;
    esac
}

# set_to VALUE [CURL-OPTION...]: fails if somebody else was faster. That is sure: a repeat of what was carried out gets
# the first answer, not that the condition holds no longer.
set_to() {
    new=$1
    shift
    ask PUT "/v1/kv/$key" -H "$condition" -d "$new" "$@" ||
        die 'no server answers, and whether the last step was counted is unknown' 5
    case $status in
        200 | 201) return 0 ;;
        412) return 1 ;;
        410) die 'the session has ended, and whether the last step was counted is unknown' 5 ;;
        *) die "$(cat "$answer")" ;;
    esac
}

step=0
while [ "$step" -lt "$times" ]; do
    look
    # One key a command: another try is another command.
    if set_to $((value + 1)) -H "Idempotency-Key: $(unique)"; then step=$((step + 1)); fi
done

ask POST /v1/sessions -H "Idempotency-Key: $(unique)" -d '{"timeout":"2m","name":"exactly-once.sh"}' ||
    die 'no server answers'
[ "$status" = 201 ] || die "no session: $(cat "$answer")"
session=$(number session)
step=0 sequence=0
while [ "$step" -lt "$times" ]; do
    look
    # A number is used up by every answer, also by the one that the condition did not hold.
    sequence=$((sequence + 1))
    if set_to $((value + 1)) -H "Copycat-Session: $session" -H "Copycat-Sequence: $sequence"; then
        step=$((step + 1))
    fi
    # Keeps the session alive, and says which answers have come, so that they need not be kept.
    ask POST "/v1/sessions/$session/keep-alive" -d '{"sequence":'"$sequence"'}' || die 'no server answers'
done

look
echo "$key is $value"

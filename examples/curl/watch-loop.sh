#!/bin/sh
# Prints what changes below a prefix, as it happens, a line each: `put VERSION KEY`, `delete VERSION KEY` or
# `expire VERSION KEY`.
#
#   ./watch-loop.sh PREFIX
#   ./watch-loop.sh config/ | while read -r what version key; do echo "$key: $what"; done
#
# Each event comes once, in order, also when a server fails meanwhile. If the session is lost (no server reached for 30
# s), `lost 0 PREFIX` is printed: some changes may have been missed, so read everything again. The keys are as in JSON,
# with \" and the like; one that is no text is in base64, and looks like `AP8=","key_encoding":"base64`.
#
# COPYCAT: the servers, separated by spaces (http://127.0.0.1:8700). PREFIX is made of letters, digits, - _ . / here.
set -eu

: "${COPYCAT:=http://127.0.0.1:8700}"
[ $# -eq 1 ] || { echo "usage: $0 PREFIX" >&2; exit 2; }
prefix=$1

patience=30 session='' answer=$(mktemp)

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

# begin: a session that is told of the prefix. Making the same watch twice makes one.
begin() {
    ask POST /v1/sessions -H "Idempotency-Key: $(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" \
        -d '{"timeout":"30s","name":"watch-loop.sh"}' || die 'no server answers'
    [ "$status" = 201 ] || die "no session: $(cat "$answer")"
    session=$(number session)
    ask POST "/v1/sessions/$session/watches" -d '{"prefix":"'"$prefix"'"}' || die 'no server answers'
    case $status in
        200 | 201) ;;
        *) die "no watch: $(cat "$answer")" ;;
    esac
    seen=0
}

# events: the events of the answer, a line each. Inside of a JSON text no quote stands alone, so that what is looked for
# here is never part of a key.
events() {
    sed 's/{"type":"/\
&/g' "$answer" | sed -n 's/^{"type":"\([a-z_]*\)".*"key":"\(.*\)","version":\([0-9]*\).*/\1 \3 \2/p'
}

begin
echo "${0##*/}: watching" >&2
# For as long as it takes: polls are what keeps the session alive.
patience=3600
while :; do
    # `after` acknowledges what was printed, and asks for what follows; without any, we begin at the beginning.
    after=''
    [ "$seen" = 0 ] || after="&after=$seen"
    ask GET "/v1/sessions/$session/events?wait=30s$after" --max-time 20 || die 'no server answers'
    case $status in
        200)
            events
            # The last batch: empty if the wait is over.
            last=$(sed -n 's/.*{"index":\([0-9]*\),"previous":.*/\1/p' "$answer")
            seen=${last:-$seen}
            ;;
        404 | 410)
            begin
            echo "lost 0 $prefix"
            ;;
        # Another poll of this session, perhaps one of ours that was cut off, has just ended.
        409)
            grep -q '"superseded"' "$answer" || die "$(cat "$answer")"
            sleep 1
            ;;
        *) die "$(cat "$answer")" ;;
    esac
done

#!/bin/sh
# Registers an instance of a service for as long as this script runs, so that others find it.
#
#   ./service-registration.sh SERVICE INSTANCE ADDRESS
#   ./service-registration.sh web web-1 10.0.0.7:8080
#   curl 'http://127.0.0.1:8700/v1/kv?prefix=services/web/'          # who is there
#
# The key services/SERVICE/INSTANCE is ephemeral: it belongs to a session, and goes when the session ends, which it does
# when this script is stopped, or is not heard of for TTL seconds. If the session was lost while no server could be
# reached, the instance is registered anew.
#
# COPYCAT: the servers, separated by spaces (http://127.0.0.1:8700). TTL: in seconds (15). SERVICE and INSTANCE are made
# of letters, digits, - _ . here.
set -eu

: "${COPYCAT:=http://127.0.0.1:8700}" "${TTL:=15}"
[ $# -eq 3 ] || { echo "usage: $0 SERVICE INSTANCE ADDRESS" >&2; exit 2; }
key=services/$1/$2 address=$3

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

# register: a session, and the key that lives as long. Fails if the session is lost meanwhile.
register() {
    ask POST /v1/sessions -H "Idempotency-Key: $(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" \
        -d '{"timeout":"'"$TTL"'s","name":"'"$key"'"}' || die 'no server answers'
    [ "$status" = 201 ] || die "no session: $(cat "$answer")"
    session=$(number session)
    # It goes on for as long as there is no server; at first it would be a mistake.
    patience=3600
    # Setting it twice sets it.
    ask PUT "/v1/kv/$key?session=$session&ephemeral" --data-binary "$address" || die 'no server answers'
    case $status in
        200 | 201) echo "$key is registered" ;;
        410) return 1 ;;
        *) die "$(cat "$answer")" ;;
    esac
}

until register; do :; done
while :; do
    sleep $((TTL / 3 > 0 ? TTL / 3 : 1)) >/dev/null 2>&1 &
    wait $!
    ask POST "/v1/sessions/$session/keep-alive" || die 'no server answers'
    case $status in
        200) ;;
        404 | 410)
            echo "${0##*/}: $key was gone for a while; it is registered anew" >&2
            until register; do :; done
            ;;
        *) die "$(cat "$answer")" ;;
    esac
done

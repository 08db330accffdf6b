#!/bin/sh
# One of many leads; when it is gone, the next does.
#
#   ./leader-election.sh ELECTION NAME
#   ./leader-election.sh mail "$(hostname)"
#   curl http://127.0.0.1:8700/v1/kv/elections/mail          # who leads
#
# Whoever holds the lock ELECTION leads, and writes its name to the key elections/ELECTION, which goes when it goes. The
# others wait in the order in which they came. `NAME leads, token N` and `NAME leads no more` are printed: your work
# goes there. The token is higher than that of every leader before: hand it on with all that you write (as `lock` and
# `token` below), so that what an earlier leader, who does not know yet, still sends is refused.
#
# COPYCAT: the servers, separated by spaces (http://127.0.0.1:8700). TTL: seconds until the next leads when one is
# suddenly gone (15). ELECTION is made of letters, digits, - _ . here.
set -eu

: "${COPYCAT:=http://127.0.0.1:8700}" "${TTL:=15}"
[ $# -eq 2 ] || { echo "usage: $0 ELECTION NAME" >&2; exit 2; }
election=$1 name=$2

patience=30 session='' leads=false answer=$(mktemp)

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

resign() {
    if $leads; then echo "$name leads no more"; fi
    leads=false
}

clean_up() {
    trap '' INT TERM
    resign
    patience=5
    [ -z "$session" ] || ask DELETE "/v1/sessions/$session" || :
    rm -f "$answer"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# run_for_it: a session, and the lock. Fails if the session is lost meanwhile.
run_for_it() {
    ask POST /v1/sessions -H "Idempotency-Key: $(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" \
        -d '{"timeout":"'"$TTL"'s","name":"leader-election.sh"}' || die 'no server answers'
    [ "$status" = 201 ] || die "no session: $(cat "$answer")"
    session=$(number session)
    # It goes on for as long as there is no server; at first it would be a mistake.
    patience=3600
    while :; do
        sent=$(date +%s)
        # Waits for half the session's timeout at most, and counts as a sign of life; `queue` keeps the place.
        ask PUT "/v1/locks/$election?session=$session&wait=30s&queue" --max-time $((TTL / 2 + 5)) ||
            die 'no server answers'
        case $status in
            200) break ;;
            202) ;;
            409 | 410) return 1 ;;
            *) die "$(cat "$answer")" ;;
        esac
    done
    token=$(number token)
}

# lead: for as long as it is certain, which is TTL seconds after the last sign of life that arrived was sent.
lead() {
    attempt=$((TTL / 3 > 0 ? TTL / 3 : 1))
    # Only if the token still holds the lock.
    patience=$((sent + TTL - attempt - $(date +%s)))
    ask PUT "/v1/kv/elections/$election?session=$session&ephemeral&lock=$election&token=$token" \
        --max-time "$attempt" --data-binary "$name" || return 0
    case $status in
        200 | 201) ;;
        *) return 0 ;;
    esac
    leads=true
    echo "$name leads, token $token"
    while :; do
        sleep "$attempt" >/dev/null 2>&1 &
        wait $!
        now=$(date +%s)
        patience=$((sent + TTL - attempt - now))
        ask POST "/v1/sessions/$session/keep-alive" --max-time "$attempt" || return 0
        [ "$status" = 200 ] || return 0
        sent=$now
        ask GET "/v1/locks/$election/verify?token=$token" --max-time "$attempt" || return 0
        [ "$status" = 200 ] || return 0
    done
}

while :; do
    if run_for_it; then lead; fi
    resign
    patience=5
    ask DELETE "/v1/sessions/$session" || :
    patience=3600 session=''
done

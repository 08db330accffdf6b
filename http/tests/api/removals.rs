//! Many keys deleted at once.

use crate::fake::{Server, server};
use serde_json::json;

fn filled() -> Server {
    let server = server();
    for key in ["a", "a%2F1", "a%2F2", "a%2F3", "b"] {
        assert_eq!(server.put(&format!("/v1/kv/{key}"), b"x").status, 201);
    }
    server
}

#[test]
fn what_begins_so_is_deleted_at_one_index() {
    let server = filled();
    let answer = server.delete("/v1/kv?prefix=a/&limit=2");
    assert_eq!((answer.status, answer.json()), (200, json!({"deleted": 2, "more": true, "index": 6})));
    assert_eq!(answer.header("copycat-index"), Some("6"));
    assert_eq!(server.delete("/v1/kv?prefix=a%2F").json(), json!({"deleted": 1, "more": false, "index": 7}));
    assert_eq!((server.get("/v1/kv/a").status, server.get("/v1/kv/b").status), (200, 200));
    assert_eq!(server.delete("/v1/kv?all=true").json()["deleted"], 2);
}

#[test]
fn everything_goes_only_if_that_is_said() {
    let server = filled();
    for bare in ["/v1/kv", "/v1/kv?prefix=", "/v1/kv?all=false", "/v1/kv?prefix=&limit=1"] {
        server.delete(bare).bad("all");
    }
    server.delete("/v1/kv?all=yes").bad("all");
    for name in ["prefix=a", "limit=1", "all=true"] {
        server.delete(&format!("/v1/kv?key=a&{name}")).bad(name.split('=').next().expect("a name"));
        server.delete(&format!("/v1/kv/a?{name}")).bad(name.split('=').next().expect("a name"));
    }
    for limit in ["0", "10001", "x", ""] {
        server.delete(&format!("/v1/kv?prefix=a&limit={limit}")).bad("limit");
    }
    server.delete(&format!("/v1/kv?prefix={}", "a".repeat(4097))).bad("prefix");
    let conditional = server.call("DELETE", "/v1/kv?prefix=a", &[("If-Match", "\"1\"")], b"");
    conditional.bad("If-Match");
    assert_eq!(server.fake.state().index, 5, "nothing was deleted");
    assert_eq!(server.delete("/v1/kv?prefix=a&limit=10000").json()["deleted"], 4);
}

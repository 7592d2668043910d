//! What a handler gets and gives.

use crate::api::server::Conns;
use crate::base::{Error, Result};
use crate::engine::{ConnId, Engine, Reply};
use crate::wire::http::Request;
use serde_json::Value;

/// What handlers work on.
pub struct Context<'a> {
    /// The state.
    pub engine: &'a mut Engine,
    /// The connections.
    pub conns: &'a mut Conns,
}

/// A request, found its route.
pub struct Call {
    /// From whom.
    pub conn: ConnId,
    /// The head.
    pub request: Request,
    /// The body.
    pub body: Vec<u8>,
    /// What the route's wildcards stand for.
    pub args: Vec<String>,
    /// Minor API version: 44 for 1.44.
    pub version: u32,
}

impl Call {
    /// The first wildcard.
    pub fn name(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// The JSON body.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|e| Error::invalid(format!("invalid JSON: {e}")))
    }

    /// An integer parameter.
    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        match self.request.param(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(v) => v.parse().map(Some).map_err(|_| Error::invalid(format!("strconv.Atoi: parsing \"{v}\": invalid syntax"))),
        }
    }
}

/// `None`: the answer comes later, or the connection was handed over.
pub type Handled = Result<Option<Reply>>;

/// A header that is base64 (URL alphabet, padding optional) of a JSON object.
pub fn decoded<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    let bad = || Error::invalid(format!("invalid {name} header: not base64 of a JSON object"));
    let bytes = crate::base::base64::decode(text).ok_or_else(bad)?;
    serde_json::from_slice(&bytes).map_err(|_| bad())
}

/// A JSON answer.
pub fn ok(value: &Value) -> Handled {
    Ok(Some(Reply::Json(200, value.to_string().into_bytes())))
}

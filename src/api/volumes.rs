//! Volumes.

use crate::api::call::{Call, Context, Handled, ok};
use crate::api::filters;
use crate::base::Error;
use crate::engine::volumes::Volume;
use crate::engine::{Engine, Reply};
use crate::wire::container::Labels;
use serde::Deserialize;
use serde_json::{Value, json};

/// A volume as the API shows it.
pub fn describe(engine: &Engine, v: &Volume) -> Value {
    json!({
        "CreatedAt": v.created.rfc3339(), "Driver": "local", "Labels": if v.labels.is_empty() { Value::Null } else { json!(v.labels) },
        "Mountpoint": engine.volume_path(&v.name), "Name": v.name,
        "Options": if v.options.is_empty() { Value::Null } else { json!(v.options) }, "Scope": "local",
    })
}

/// `GET /volumes`.
pub fn list(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &*context.engine;
    let filters = filters::parse(call.request.param("filters"), &["dangling", "driver", "label", "name"])?;
    let wanted = |v: &&Volume| {
        filters::any(&filters, "dangling", |f| engine.volume_users(&v.name).is_empty() == matches!(f, "true" | "1"))
            && filters::any(&filters, "driver", |f| f == "local")
            && filters::any(&filters, "name", |f| filters::name_matches(f, &v.name))
            && filters::labels(&filters, &v.labels)
    };
    let all: Vec<Value> = engine.volumes.by_name.values().filter(wanted).map(|v| describe(engine, v)).collect();
    ok(&json!({"Volumes": all, "Warnings": null}))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    name: Option<String>,
    driver: Option<String>,
    driver_opts: Option<Labels>,
    labels: Option<Labels>,
}

/// `POST /volumes/create`.
pub fn create(context: &mut Context<'_>, call: Call) -> Handled {
    let body: Create = if call.body.is_empty() { Create::default() } else { call.json()? };
    if let Some(driver) = body.driver.filter(|d| !d.is_empty() && d != "local") {
        return Err(Error::not_found(format!("create {}: plugin \"{driver}\" not found", body.name.unwrap_or_default())));
    }
    let engine = &mut *context.engine;
    let volume = engine.make_volume(
        &body.name.unwrap_or_default(),
        body.labels.unwrap_or_default(),
        body.driver_opts.unwrap_or_default(),
    )?;
    let text = describe(engine, &volume).to_string();
    engine.answer_durably(call.conn, Reply::Json(201, text.into_bytes()));
    Ok(None)
}

/// `GET /volumes/{name}`.
pub fn inspect(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &*context.engine;
    let volume = engine
        .volumes
        .by_name
        .get(call.name())
        .ok_or_else(|| Error::not_found(format!("get {}: no such volume", call.name())))?;
    ok(&describe(engine, volume))
}

/// `DELETE /volumes/{name}`.
pub fn remove(context: &mut Context<'_>, call: Call) -> Handled {
    context.engine.remove_volume(call.name(), call.request.flag("force"))?;
    context.engine.answer_durably(call.conn, Reply::Empty(204));
    Ok(None)
}

/// `POST /volumes/prune`: anonymous ones from API 1.42 on unless `all`; before, all that nothing uses.
pub fn prune(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &mut *context.engine;
    let filters = filters::parse(call.request.param("filters"), &["label", "label!", "all"])?;
    let all = call.version < 42 || filters.get("all").is_some_and(|v| v.iter().any(|v| matches!(v.as_str(), "true" | "1")));
    let names: Vec<String> = engine
        .volumes
        .by_name
        .values()
        .filter(|v| (all || v.anonymous) && filters::labels(&filters, &v.labels) && engine.volume_users(&v.name).is_empty())
        .map(|v| v.name.clone())
        .collect();
    for name in &names {
        engine.remove_volume(name, true)?;
    }
    let body = json!({"VolumesDeleted": names, "SpaceReclaimed": 0}).to_string();
    engine.answer_durably(call.conn, Reply::Json(200, body.into_bytes()));
    Ok(None)
}

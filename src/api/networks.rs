//! Networks: the predefined ones can be looked at; user-defined ones come with their issue.

use crate::api::call::{Call, Context, Handled, ok};
use crate::api::filters;
use crate::base::{Error, Kind};
use crate::engine::Engine;
use crate::engine::networks::Network;
use serde_json::{Map, Value, json};

fn describe(engine: &Engine, network: &Network, with_containers: bool) -> Value {
    let bridge = network.name == "bridge";
    let config = if bridge {
        json!([{"Subnet": engine.networks.subnet(), "Gateway": engine.networks.gateway.to_string()}])
    } else {
        Value::Null
    };
    let options = match bridge {
        true => json!({
            "com.docker.network.bridge.default_bridge": "true", "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": engine.settings.ip_masq.to_string(),
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0", "com.docker.network.bridge.name": engine.networks.bridge,
            "com.docker.network.driver.mtu": if engine.settings.mtu == 0 { 1500 } else { engine.settings.mtu }.to_string(),
        }),
        false => json!({}),
    };
    let mut containers = Map::new();
    if with_containers {
        for c in engine.containers.all().filter(|c| c.is_running()) {
            if let Some(e) = c.endpoints.get(network.name) {
                let address =
                    if e.ip_address.is_empty() { String::new() } else { format!("{}/{}", e.ip_address, e.ip_prefix_len) };
                let entry = json!({"Name": c.def.name, "EndpointID": e.endpoint_id, "MacAddress": e.mac_address, "IPv4Address": address, "IPv6Address": ""});
                containers.insert(c.id.clone(), entry);
            }
        }
    }
    json!({
        "Name": network.name, "Id": network.id, "Created": engine.started.rfc3339(), "Scope": "local", "Driver": network.driver,
        "EnableIPv6": false, "IPAM": {"Driver": "default", "Options": null, "Config": config}, "Internal": false, "Attachable": false,
        "Ingress": false, "ConfigFrom": {"Network": ""}, "ConfigOnly": false, "Containers": containers, "Options": options, "Labels": {},
    })
}

/// `GET /networks`.
pub fn list(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &*context.engine;
    let filters =
        filters::parse(call.request.param("filters"), &["dangling", "driver", "id", "label", "label!", "name", "scope", "type"])?;
    let wanted = |n: &&Network| {
        filters::any(&filters, "name", |v| filters::name_matches(v, n.name))
            && filters::any(&filters, "id", |v| n.id.starts_with(v))
            && filters::any(&filters, "driver", |v| n.driver == v)
            && filters::any(&filters, "scope", |v| v == "local")
            && filters::any(&filters, "type", |v| v == "builtin")
            && filters::any(&filters, "dangling", |v| matches!(v, "false" | "0"))
            && filters::labels(&filters, &Default::default())
    };
    let all: Vec<Value> = engine.networks.all().iter().filter(wanted).map(|n| describe(engine, n, false)).collect();
    ok(&json!(all))
}

/// `GET /networks/{id}`.
pub fn inspect(context: &mut Context<'_>, call: Call) -> Handled {
    let engine = &*context.engine;
    let network =
        engine.networks.find(call.name()).ok_or_else(|| Error::not_found(format!("network {} not found", call.name())))?;
    ok(&describe(engine, network, true))
}

/// `POST /networks/create`.
pub fn create(_: &mut Context<'_>, _: Call) -> Handled {
    Err(Error::unsupported(
        "user-defined networks are not part of this version of the engine yet: use the default bridge, host or none",
    ))
}

/// `POST /networks/{id}/connect` and `/disconnect`.
pub fn later(context: &mut Context<'_>, call: Call) -> Handled {
    match context.engine.networks.find(call.name()) {
        None => Err(Error::not_found(format!("network {} not found", call.name()))),
        Some(_) => Err(Error::unsupported("connecting running containers is not part of this version of the engine yet")),
    }
}

/// `DELETE /networks/{id}`.
pub fn remove(context: &mut Context<'_>, call: Call) -> Handled {
    match context.engine.networks.find(call.name()) {
        None => Err(Error::not_found(format!("network {} not found", call.name()))),
        Some(n) => Err(Error::new(Kind::Forbidden, format!("{} is a pre-defined network and cannot be removed", n.name))),
    }
}

/// `POST /networks/prune`: there are none to prune.
pub fn prune(_: &mut Context<'_>, call: Call) -> Handled {
    filters::parse(call.request.param("filters"), &["label", "label!", "until"])?;
    ok(&json!({"NetworksDeleted": null}))
}

//! The pages of the stand-in's OAuth server. Called by `oauth_server`.
//! Invariant: no script, nothing from elsewhere, and no text of a request.

/// The consent page. `ask` is a word of ours.
pub(super) fn consent(ask: &str) -> String {
    page(&format!(
        "<h1>Stand-in Mixpanel</h1>\
         <p><b>mp-proxy</b> on this machine asks to use the API as <b>demo@example.com</b>.</p>\
         <form method=\"post\" action=\"/oauth/authorize/decide/\">\
         <input type=\"hidden\" name=\"ask\" value=\"{ask}\">\
         <button id=\"allow\" name=\"decision\" value=\"allow\">Authorize</button> \
         <button id=\"deny\" name=\"decision\" value=\"deny\">Deny</button></form>\
         <p>No real account: everything here runs on this machine and ends with the demo.</p>"
    ))
}

/// The answer to a request that cannot be sent back anywhere.
pub(super) fn bad_request() -> String {
    page("<h1>Stand-in Mixpanel</h1><p>This is not a request that this server can authorize.</p>")
}

fn page(body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>Stand-in Mixpanel</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:32em;margin:15vh auto;padding:0 1em}}\
         button{{font:inherit;padding:.5em 1.5em}}</style></head><body>{body}</body></html>"
    )
}

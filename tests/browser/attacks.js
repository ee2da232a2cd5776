// Every way in which a page can make a browser send a request. `u` is the URL under attack, `k` the
// name of the kind; both come from the query of the page. Served by tests/it/browser.rs.
const add = (tag, attributes, parent = document.body) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
};
const form = (u, method, enctype, extra = {}) => {
  const node = add('form', { action: u, method, enctype, ...extra });
  add('input', { name: 'a', value: 'b' }, node);
  node.submit();
};
const style = (text) => { add('style', {}).textContent = text; add('p', { class: 'x' }).textContent = 'x'; };
const here = (path, u) => `${path}?u=${encodeURIComponent(u)}`;
const blob = (text, type) => URL.createObjectURL(new Blob([text], { type }));
const quiet = (promise) => Promise.resolve(promise).catch(() => {});
const frame = (html, attributes = {}) => add('iframe', { srcdoc: html, ...attributes });
const attacks = {
  'fetch-cors': (u) => quiet(fetch(u)),
  'fetch-no-cors': (u) => quiet(fetch(u, { mode: 'no-cors' })),
  'fetch-same-origin': (u) => quiet(fetch(u, { mode: 'same-origin' })),
  'fetch-credentials': (u) => quiet(fetch(u, { credentials: 'include' })),
  'fetch-no-referrer': (u) => quiet(fetch(u, { mode: 'no-cors', referrerPolicy: 'no-referrer' })),
  'fetch-keepalive': (u) => quiet(fetch(u, { mode: 'no-cors', keepalive: true, method: 'POST', body: 'a' })),
  'fetch-post-json': (u) => quiet(fetch(u, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })),
  'fetch-post-text': (u) => quiet(fetch(u, { mode: 'no-cors', method: 'POST', body: 'a' })),
  'fetch-put': (u) => quiet(fetch(u, { method: 'PUT', body: 'a' })),
  'fetch-delete': (u) => quiet(fetch(u, { method: 'DELETE' })),
  'fetch-override-header': (u) => quiet(fetch(u, { headers: { 'X-Mp-Account': 'ci' } })),
  'fetch-authorization': (u) => quiet(fetch(u, { headers: { Authorization: 'Bearer x' } })),
  'fetch-cache': (u) => quiet(fetch(u, { mode: 'no-cors', cache: 'reload' })),
  'fetch-local-address': (u) => quiet(fetch(u, { targetAddressSpace: 'loopback' })),
  'xhr-get': (u) => { const x = new XMLHttpRequest(); x.open('GET', u); x.send(); },
  'xhr-sync': (u) => new Worker(blob(`const x = new XMLHttpRequest(); x.open('GET', ${JSON.stringify(u)}, false); try { x.send() } catch {}`, 'text/javascript')),
  'xhr-post': (u) => { const x = new XMLHttpRequest(); x.open('POST', u); x.send('a'); },
  'form-get': (u) => form(u, 'get', ''),
  'form-post-urlencoded': (u) => form(u, 'post', 'application/x-www-form-urlencoded'),
  'form-post-multipart': (u) => form(u, 'post', 'multipart/form-data'),
  'form-post-text': (u) => form(u, 'post', 'text/plain'),
  'form-post-blank': (u) => form(u, 'post', 'text/plain', { target: '_blank' }),
  'form-post-iframe': (u) => { add('iframe', { name: 'f' }); form(u, 'post', 'text/plain', { target: 'f' }); },
  'form-no-referrer': (u) => form(u, 'post', 'text/plain', { rel: 'noreferrer' }),
  'image': (u) => add('img', { src: u }),
  'image-srcset': (u) => add('img', { srcset: `${u} 1x` }),
  'image-no-referrer': (u) => add('img', { src: u, referrerpolicy: 'no-referrer' }),
  'image-crossorigin': (u) => add('img', { src: u, crossorigin: 'use-credentials' }),
  'image-svg': (u) => { add('div', {}).innerHTML = `<svg><image href="${u.replace(/&/g, '&amp;')}" width="9" height="9"/></svg>`; },
  'picture': (u) => { const p = add('picture', {}); add('source', { srcset: u }, p); add('img', { src: 'x.png' }, p); },
  'input-image': (u) => add('input', { type: 'image', src: u }),
  'script': (u) => add('script', { src: u }),
  'script-module': (u) => add('script', { src: u, type: 'module' }),
  'dynamic-import': (u) => quiet(import(u)),
  'stylesheet': (u) => add('link', { rel: 'stylesheet', href: u }),
  'css-import': (u) => style(`@import url("${u}");`),
  'css-url': (u) => style(`.x { background: url("${u}") }`),
  'css-mask': (u) => style(`.x { mask-image: url("${u}") }`),
  'css-cursor': (u) => style(`body { cursor: url("${u}"), auto }`),
  'font': (u) => style(`@font-face { font-family: f; src: url("${u}") } .x { font-family: f }`),
  'iframe': (u) => add('iframe', { src: u }),
  'iframe-sandboxed': (u) => add('iframe', { src: u, sandbox: '' }),
  'iframe-no-referrer': (u) => add('iframe', { src: u, referrerpolicy: 'no-referrer' }),
  'sandboxed-fetch': (u) => frame(`<script>fetch(${JSON.stringify(u)}).catch(()=>{})</script>`, { sandbox: 'allow-scripts' }),
  'sandboxed-form': (u) => frame(`<form method=post action="${u}"></form><script>document.forms[0].submit()</script>`, { sandbox: 'allow-scripts allow-forms' }),
  'srcdoc-image': (u) => frame(`<img src="${u}">`),
  'data-url-frame': (u) => add('iframe', { src: `data:text/html,<script>fetch("${encodeURIComponent(u)}".replace(/%3A/g,":")).catch(()=>{})</script><img src="${encodeURI(u)}">` }),
  'blob-frame': (u) => add('iframe', { src: blob(`<img src="${u}">`, 'text/html') }),
  'object': (u) => add('object', { data: u }),
  'embed': (u) => add('embed', { src: u }),
  'embed-pdf': (u) => add('embed', { src: u, type: 'application/pdf' }),
  'link-prefetch': (u) => add('link', { rel: 'prefetch', href: u }),
  'link-preload': (u) => add('link', { rel: 'preload', as: 'image', href: u }),
  'link-modulepreload': (u) => add('link', { rel: 'modulepreload', href: u }),
  'link-preconnect': (u) => add('link', { rel: 'preconnect', href: u }),
  'link-icon': (u) => add('link', { rel: 'icon', href: u }, document.head),
  'link-manifest': (u) => add('link', { rel: 'manifest', href: u }, document.head),
  'speculation-rules': (u) => { add('script', { type: 'speculationrules' }).textContent = JSON.stringify({ prefetch: [{ source: 'list', urls: [u] }] }); },
  'video': (u) => add('video', { src: u, preload: 'auto' }),
  'audio': (u) => add('audio', { src: u, preload: 'auto' }),
  'track': (u) => { const v = add('video', { src: 'v' }); add('track', { src: u, default: '' }, v); v.textTracks[0].mode = 'showing'; },
  'poster': (u) => add('video', { poster: u }),
  'event-source': (u) => new EventSource(u),
  'websocket': (u) => new WebSocket(u.replace('http', 'ws')),
  'send-beacon': (u) => navigator.sendBeacon(u, 'a'),
  'send-beacon-form': (u) => { const d = new FormData(); d.append('a', 'b'); navigator.sendBeacon(u, d); },
  'a-ping': (u) => { const a = add('a', { href: '#x', ping: u }); a.click(); },
  'a-click': (u) => add('a', { href: u }).click(),
  'a-download': (u) => add('a', { href: u, download: '' }).click(),
  'a-noreferrer': (u) => add('a', { href: u, rel: 'noreferrer noopener', target: '_blank' }).click(),
  'window-open': (u) => window.open(u),
  'window-open-noopener': (u) => window.open(u, '_blank', 'noopener,noreferrer'),
  'navigation': (u) => { location.href = u; },
  'navigation-replace': (u) => location.replace(u),
  'javascript-url': (u) => add('iframe', { src: `javascript:location.replace(${JSON.stringify(u)})` }),
  'meta-refresh': (u) => add('meta', { 'http-equiv': 'refresh', content: `0;url=${u}` }, document.head),
  'refresh-header': (u) => { location.href = here('/refresh', u); },
  'redirect-301-image': (u) => add('img', { src: here('/redirect/301', u) }),
  'redirect-302-fetch': (u) => quiet(fetch(here('/redirect/302', u), { mode: 'no-cors' })),
  'redirect-302-navigation': (u) => { location.href = here('/redirect/302', u); },
  'redirect-303-form': (u) => form(here('/redirect/303', u), 'post', 'text/plain'),
  'redirect-307-form': (u) => form(here('/redirect/307', u), 'post', 'text/plain'),
  'redirect-308-fetch': (u) => quiet(fetch(here('/redirect/308', u), { mode: 'no-cors', method: 'POST', body: 'a' })),
  'redirect-308-beacon': (u) => navigator.sendBeacon(here('/redirect/308', u), 'a'),
  'link-header': (u) => quiet(fetch(here('/preload', u))) && add('iframe', { src: here('/preload', u) }),
  'csp-report': (u) => add('iframe', { src: here('/csp', u) }),
  'worker-fetch': (u) => new Worker(blob(`fetch(${JSON.stringify(u)},{mode:'no-cors'}).catch(()=>{})`, 'text/javascript')),
  'worker-import-scripts': (u) => new Worker(blob(`try { importScripts(${JSON.stringify(u)}) } catch {}`, 'text/javascript')),
  'shared-worker': (u) => new SharedWorker(blob(`fetch(${JSON.stringify(u)},{mode:'no-cors'}).catch(()=>{})`, 'text/javascript')),
  'service-worker': (u) => quiet(navigator.serviceWorker?.register(here('/sw.js', u))),
};
// What leaves the page needs a page a target; the others attack all targets from one frame.
const leaves = /^(form|a-|window|navigation|javascript|meta|refresh|redirect-30[237]-(navigation|form))/;
const query = new URLSearchParams(location.search);
const kind = query.get('k');
const targets = JSON.parse(query.get('targets'));
if (kind) {
  for (const target of targets) {
    try { attacks[kind](`${target}/api/query/events/names?kind=${kind}`); } catch (error) { console.log(kind, error); }
  }
} else {
  const page = (k, list) => `/attack?k=${k}&targets=${encodeURIComponent(JSON.stringify(list))}`;
  const frame = (k, list) => () => add('iframe', { src: page(k, list), width: 50, height: 50 });
  const kinds = Object.keys(attacks);
  // Those that open windows come last: headless, a page behind another window may be stopped.
  const windows = kinds.filter((k) => /blank|window|noreferrer/.test(k));
  const steps = [...kinds.filter((k) => !windows.includes(k)), ...windows].flatMap((k) => leaves.test(k)
    ? targets.map((target) => frame(k, [target]))
    : [frame(k, targets)]);
  const next = () => { const step = steps.shift(); if (step) { step(); setTimeout(next, 40); } };
  next();
}

// SPDX-License-Identifier: Apache-2.0
// LivePage.swift: the page /.apus: the machine as the kernel's information pages show it, asked for every two seconds.

/// The page; it needs nothing but /.apus.json.
let livePage: StaticString = """
  <!doctype html>
  <html lang="en">
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Apus: the machine</title>
  <style>
  :root { --ink: #1c2024; --soft: #60646c; --line: #d9d9e0; --ground: #fcfcfd; --card: #ffffff; --free: #eceef1;
    --kernel: #8b8d98; --table: #c2a15f; --a0: #4a6fa5; --a1: #3e63dd; --a2: #2b9a66; --a3: #cc4e00; --a4: #8e4ec6;
    --a5: #0d74ce; --a6: #ca244d; --a7: #067a6f; --a8: #947b0c; --a9: #606a5a; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #edeef0; --soft: #a5a9b1; --line: #363a3f; --ground: #111113; --card: #18191b; --free: #26292d;
      --kernel: #696e77; --table: #b39445; --a1: #7d97ff; --a2: #3dd68c; --a3: #ff9b52; --a4: #c690ff; --a5: #70b8ff;
      --a6: #ff8fa3; --a7: #0bd8b6; --a8: #e2c541; --a9: #b0b8a4; }
  }
  * { box-sizing: border-box }
  body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 3rem; background: var(--ground); color: var(--ink);
    font: 15px/1.5 system-ui, sans-serif }
  h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1rem; margin: 0 0 .6rem }
  header { display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; align-items: baseline; margin-bottom: 1rem }
  header span, p, .soft { color: var(--soft) }
  section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem; margin: 0 0 1rem;
    overflow-x: auto }
  .two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); gap: 0 1rem }
  .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .8rem }
  .figures b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; font-weight: 600 }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
  th { color: var(--soft); font-weight: 500; text-align: left } td, th { padding: .15rem .8rem .15rem 0; white-space: nowrap }
  th.n, td.n { text-align: right }
  #map { display: grid; grid-template-columns: repeat(auto-fill, minmax(9px, 1fr)); gap: 1px }
  #map i { height: 9px; border-radius: 1px; background: var(--free) }
  .bar { display: flex; height: 18px; border-radius: 4px; overflow: hidden; background: var(--free); margin: .3rem 0 }
  .key { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .6rem 0 0; color: var(--soft) }
  .key i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em }
  #trouble { color: var(--a6) }
  </style>
  <header><h1>Who owns what</h1><span id="when">asking the machine</span><span id="trouble" role="status"></span></header>
  <section class="figures" id="figures"></section>
  <section><h2>Frames</h2><div id="map"></div><div class="key" id="key"></div></section>
  <section><h2>Time slices</h2><div id="slices"></div></section>
  <div class="two">
  <section><h2>Environments</h2><table id="environments"></table></section>
  <section><h2>Accounts</h2><table id="accounts"></table></section>
  <section><h2>Packet rings and filters</h2><table id="rings"></table><table id="filters"></table></section>
  <section><h2>Answers</h2><table id="statuses"></table></section>
  </div>
  <section><h2>Connections</h2><table id="connections"></table></section>
  <section><h2>Most wanted</h2><table id="documents"></table></section>
  <script>
  "use strict";
  const by = id => document.getElementById(id), n = v => v.toLocaleString("en");
  const colour = c => c === "." ? "var(--free)" : c === "k" ? "var(--kernel)" : c === "t" ? "var(--table)" :
    c === " " ? "transparent" : "var(--a" + c + ")";
  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }
  function table(id, heads, rows) {
    const head = element("tr");
    heads.forEach((h, i) => head.append(element("th", h, rows.length && typeof rows[0][i] === "number" ? "n" : "")));
    const body = rows.map(cells => {
      const row = element("tr");
      cells.forEach(c => row.append(element("td", typeof c === "number" ? n(c) : c, typeof c === "number" ? "n" : "")));
      return row;
    });
    if (!rows.length) body.push(element("tr"), element("td", "none", "soft"));
    by(id).replaceChildren(head, ...body);
  }
  let before;
  function show(m) {
    const s = m.server, f = m.frames;
    const rate = before && m.seconds > before.seconds ?
      Math.round((s.requests - before.server.requests) / (m.seconds - before.seconds)) : 0;
    by("when").textContent = "up " + n(m.seconds) + " s";
    by("figures").replaceChildren(...[
      ["requests", s.requests], ["a second", rate], ["connections", m.connectionCount], ["bytes answered", s.bytes],
      ["frames in", s.framesReceived], ["frames out", s.framesSent], ["free frames", f.free], ["for nobody", m.unclaimed],
    ].map(([name, value]) => {
      const cell = element("div");
      cell.append(element("b", n(value)), element("span", name, "soft"));
      return cell;
    }));
    by("map").replaceChildren(...[...f.map].map(c => {
      const cell = element("i");
      cell.style.background = colour(c);
      return cell;
    }));
    by("key").replaceChildren(...[[".", "free"], ["k", "kernel"], ["t", "page tables"]]
      .concat(m.accounts.map(a => [String(a.account % 10), "account " + a.account]))
      .map(([c, text]) => {
        const entry = element("span"), dot = element("i");
        dot.style.background = colour(c);
        entry.append(dot, text + (c === "." ? "; a cell is " + n(f.run * 4) + " KiB" : ""));
        return entry;
      }));
    const owner = Object.fromEntries(m.environments.map(e => [e.slot, e.account]));
    by("slices").replaceChildren(...m.timelines.map((line, cpu) => {
      const row = element("div"), bar = element("div", undefined, "bar");
      line.forEach(run => {
        const piece = element("div");
        piece.style.flex = run.slices;
        piece.style.background = run.environment ? colour(String((owner[run.environment] || 0) % 10)) : "var(--free)";
        piece.title = run.slices + " slices of " + (run.environment ? "environment " + run.environment : "nobody");
        bar.append(piece);
      });
      row.append(element("span", "CPU " + cpu, "soft"), bar);
      return row;
    }));
    table("environments", ["environment", "account", "state", "slices", "used", "calls", "exceptions"],
      m.environments.map(e => [String(e.slot), String(e.account), e.text, e.slices, e.used, e.calls, e.exceptions]));
    table("accounts", ["account", "frames", "limit", "environments", "slices"],
      m.accounts.map(a => [String(a.account), a.frames, a.frameLimit, a.environments, a.slices]));
    table("rings", ["ring", "account", "entries", "packets", "overruns"],
      m.rings.map(r => [String(r.ring), String(r.account), r.entries, r.produced, r.overruns]));
    table("filters", ["filter", "account", "ring", "packets"],
      m.filters.map(x => [String(x.filter), String(x.account), String(x.ring), x.hits]));
    table("statuses", ["status", "answers"], m.statuses.map(x => [String(x.status), x.count]));
    table("connections", ["peer", "state", "requests", "bytes on their way", "round trip"],
      m.connections.map(c => [c.peer, c.text, c.requests, c.queued, (c.roundTrip / 1e6).toFixed(1) + " ms"]));
    table("documents", ["path", "requests", "bytes"], m.documents.map(d => [d.path, d.requests, d.bytes]));
    before = m;
  }
  async function ask() {
    try {
      const answer = await fetch("/.apus.json", { cache: "no-store" });
      if (!answer.ok) throw new Error("status " + answer.status);
      show(await answer.json());
      by("trouble").textContent = "";
    } catch (error) {
      by("trouble").textContent = "the machine does not answer: " + error.message;
    }
    setTimeout(ask, 2000);
  }
  ask();
  </script>
  </html>
  """

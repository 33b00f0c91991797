'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const releases = data.releases;
  const at = id => document.getElementById(id);

  // make is an element with attributes and children; texts are never read as HTML.
  function make(tag, attributes, ...children) {
    const e = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== undefined && value !== false) e.setAttribute(name, value);
    }
    e.append(...children.filter(c => c !== undefined && c !== ''));
    return e;
  }
  const short = digest => digest.replace('sha256:', '').slice(0, 12);
  const pad = n => String(n).padStart(2, '0');
  function when(iso) {
    const d = new Date(iso);
    return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}`;
  }
  function took(ms) {
    if (ms < 1000) return `${ms} ms`;
    if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
    return `${Math.floor(ms / 60000)} min ${Math.round(ms % 60000 / 1000)} s`;
  }
  // mark is the sign and the class of an outcome: it is told by both.
  function mark(r) {
    if (r.withdrawn) return ['⊘', 'warn'];
    if (r.outcome === 'settled') return r.parity ? ['✓', 'good'] : ['≠', 'warn'];
    if (r.outcome === 'restored') return ['↺', 'bad'];
    if (r.outcome === 'pending') return ['…', 'warn'];
    return ['✗', 'bad'];
  }
  const title = r => `#${r.seq}${r.sha ? ' ' + r.sha.slice(0, 7) : ''}${r.version ? ' ' + r.version : ''}`;

  const roles = [];
  for (const r of releases) for (const role of r.roles) if (!roles.includes(role.name)) roles.push(role.name);

  function state() {
    const live = data.live;
    if (!releases.length) { at('state').append('nothing was released yet'); return; }
    if (!live) { at('state').append(`${releases.length} releases; what runs was not read`); return; }
    at('state').append(make('span', {class: live.parity ? 'good' : 'warn'}, live.parity ? `✓ #${live.seq} runs, in parity` : `≠ #${live.seq} runs, NOT in parity`));
    for (const d of live.drift || []) at('state').after(make('p', {class: 'warn'}, d));
  }

  // matrix has a row a role and a column a release, newest first. A bar on the left
  // of a cell says that the role got another image there.
  function matrix() {
    const head = make('tr', {}, make('td', {}, make('span', {class: 'quiet'}, 'release')));
    for (const [i, r] of releases.entries()) {
      const [sign, kind] = mark(r);
      head.append(make('th', {scope: 'col', 'data-i': i}, make('button', {type: 'button', tabindex: -1, title: `${title(r)}: ${r.text}`, 'aria-label': `${title(r)}: ${r.text}`, class: kind}, `${r.seq} ${sign}`)));
    }
    const rows = roles.map(name => {
      const row = make('tr', {}, make('th', {scope: 'row'}, name));
      for (const [i, r] of releases.entries()) {
        const role = r.roles.find(x => x.name === name);
        const before = releases[i + 1] && releases[i + 1].roles.find(x => x.name === name);
        if (!role) { row.append(make('td', {'data-i': i, class: 'quiet'}, '–')); continue; }
        const moved = !before || before.digest !== role.digest;
        row.append(make('td', {'data-i': i, class: (role.parity ? 'good' : 'bad') + (moved ? ' moved' : ''), title: `${name} in #${r.seq}: ${short(data.digests[role.digest])}, ${role.ready} ready${role.parity ? '' : ', not in parity'}`}, role.parity ? '✓' : '✗'));
      }
      return row;
    });
    at('matrix').append(make('thead', {}, head), make('tbody', {}, ...rows));
    at('legend').append(...['✓ in parity', '✗ not in parity', '↺ failed, the one before runs again', '≠ drift', '⊘ withdrawn', '▏another image'].map(t => make('span', {}, t)));
    at('matrix').addEventListener('click', e => {
      const cell = e.target.closest('[data-i]');
      if (cell) choose(Number(cell.dataset.i), false);
    });
    at('matrix-scroll').addEventListener('keydown', e => move(e, {ArrowRight: 1, ArrowLeft: -1}, false));
  }

  function list() {
    at('list').append(...releases.map((r, i) => {
      const [sign, kind] = mark(r);
      return make('li', {}, make('button', {type: 'button', tabindex: -1, 'data-i': i},
        make('span', {class: kind, 'aria-hidden': 'true'}, sign), make('span', {class: 'what'}, title(r)), make('span', {class: 'quiet'}, r.kind === 'release' ? '' : r.kind),
        make('span', {class: 'when'}, `${when(r.started)} · ${r.text}${r.tookMs ? ' · ' + took(r.tookMs) : ''}`)));
    }));
    at('list').addEventListener('click', e => {
      const button = e.target.closest('[data-i]');
      if (button) choose(Number(button.dataset.i), true);
    });
    at('list').addEventListener('keydown', e => move(e, {ArrowDown: 1, ArrowUp: -1, j: 1, k: -1}, true));
  }

  // move chooses another release by a key.
  function move(e, keys, focus) {
    const to = e.key === 'Home' ? 0 : e.key === 'End' ? releases.length - 1 : e.key in keys ? chosen + keys[e.key] : -1;
    if (e.ctrlKey || e.metaKey || e.altKey || to < 0 || to >= releases.length) return;
    e.preventDefault();
    choose(to, focus);
  }

  let chosen = -1;
  function choose(i, focus) {
    for (const e of document.querySelectorAll('.chosen')) e.classList.remove('chosen');
    const buttons = at('list').querySelectorAll('button');
    if (chosen >= 0) { buttons[chosen].setAttribute('tabindex', -1); buttons[chosen].removeAttribute('aria-current'); }
    chosen = i;
    buttons[i].setAttribute('tabindex', 0);
    buttons[i].setAttribute('aria-current', 'true');
    if (focus) buttons[i].focus();
    scrollTo(at('list'), buttons[i]);
    const cells = at('matrix').querySelectorAll(`[data-i="${i}"]`);
    for (const c of cells) c.classList.add('chosen');
    if (cells.length) scrollTo(at('matrix-scroll'), cells[0]);
    detail(releases[i], releases[i + 1]);
    history.replaceState(null, '', '#' + releases[i].seq);
  }

  // scrollTo brings an element into view within its box, and leaves the page.
  function scrollTo(box, e) {
    const b = box.getBoundingClientRect(), r = e.getBoundingClientRect();
    if (r.top < b.top) box.scrollTop -= b.top - r.top;
    if (r.bottom > b.bottom) box.scrollTop += r.bottom - b.bottom;
    const left = b.left + 140;
    if (r.left < left) box.scrollLeft -= left - r.left;
    if (r.right > b.right) box.scrollLeft += r.right - b.right;
  }

  function detail(r, before) {
    const [sign, kind] = mark(r);
    const parts = [make('h2', {id: 'detail-title'}, title(r)), make('p', {class: kind}, `${sign} ${r.text}`)];
    const facts = make('dl', {class: 'facts'});
    const fact = (name, value) => value && facts.append(make('dt', {}, name), make('dd', {}, value));
    fact('kind', r.adopted ? (r.seq ? r.kind + ' to #0, what ran before the first release' : 'what ran before the first release') : r.kind + (r.origin ? ` to #${r.origin}` : ''));
    fact('commit', r.sha ? make('code', {}, r.sha) : 'not known');
    fact('started', when(r.started));
    fact('took', r.tookMs ? took(r.tookMs) : '');
    fact('reason', (r.failures || []).length ? '' : r.reason);
    parts.push(facts, ...autopsy(r), ...changes(r, before), ...objects(r), ...waterfall(r));
    at('detail').replaceChildren(...parts);
  }

  function autopsy(r) {
    const parts = [];
    for (const f of r.failures || []) {
      const cause = make('div', {class: 'cause'}, make('p', {}, make('strong', {}, `${f.role}: ${f.code}`), f.object ? ` in ${f.object}` : '', f.message ? `: ${f.message}` : ''));
      if ((f.log || []).length) cause.append(make('pre', {tabindex: 0, role: 'region', 'aria-label': `the last log lines of ${f.role}`}, f.log.join('\n')));
      for (const e of f.events || []) cause.append(make('p', {class: 'quiet'}, e));
      if (f.hint) cause.append(make('p', {}, '→ ' + f.hint));
      parts.push(cause);
    }
    return parts.length ? [make('h3', {}, 'Why it failed'), ...parts] : [];
  }

  function changes(r, before) {
    const rows = [];
    for (const role of r.roles) {
      const old = before && before.roles.find(x => x.name === role.name);
      const now = short(data.digests[role.digest]);
      const text = !old ? now : old.digest === role.digest ? `${now}, as before` : `${short(data.digests[old.digest])} → ${now}`;
      rows.push(make('tr', {}, make('th', {scope: 'row'}, role.name), make('td', {class: 'mono'}, text), make('td', {}, `${role.ready} ready`), make('td', {class: role.parity ? 'good' : 'bad'}, role.parity ? 'in parity' : 'not in parity')));
    }
    for (const old of before ? before.roles : []) {
      if (!r.roles.some(x => x.name === old.name)) rows.push(make('tr', {}, make('th', {scope: 'row'}, old.name), make('td', {}, 'no longer part of it'), make('td', {}), make('td', {})));
    }
    const head = make('tr', {}, ...['role', 'image', 'instances', 'parity'].map(h => make('th', {scope: 'col'}, h)));
    return [make('h3', {}, before ? `What changed since #${before.seq}` : 'What it brought'), make('div', {class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'what changed'}, make('table', {class: 'change'}, make('thead', {}, head), make('tbody', {}, ...rows)))];
  }

  function objects(r) {
    return (r.changes || []).map(c => {
      const box = make('details', {open: c.diff && c.diff.length < 600}, make('summary', {}, `${c.role}: ${c.object} ${c.action}`));
      if (c.diff) {
        box.append(make('pre', {tabindex: 0, role: 'region', 'aria-label': `what changed in ${c.object} of ${c.role}`}, ...c.diff.split('\n').map(line => make('span', {class: line[0] === '-' ? 'bad' : 'good'}, line + '\n'))));
      }
      return box;
    });
  }

  function waterfall(r) {
    const steps = r.steps || [];
    if (!steps.length) return [];
    const end = Math.max(1, ...steps.map(s => s.fromMs + s.tookMs));
    return [make('h3', {}, 'Steps'), make('ol', {class: 'steps'}, ...steps.map(s => {
      const bar = make('span', {class: 'bar'});
      bar.style.left = `${100 * s.fromMs / end}%`;
      bar.style.width = `${100 * s.tookMs / end}%`;
      return make('li', {class: s.failed ? 'failed' : undefined}, make('span', {class: 'name', title: s.text}, (s.failed ? '✗ ' : '') + s.text), make('span', {class: 'track', 'aria-hidden': 'true'}, bar), make('span', {class: 'took quiet'}, took(s.tookMs)));
    }))];
  }

  state();
  if (releases.length) {
    matrix();
    list();
    const asked = releases.findIndex(r => String(r.seq) === location.hash.slice(1));
    choose(Math.max(asked, 0), false);
  }
  window.addEventListener('hashchange', () => {
    const i = releases.findIndex(r => String(r.seq) === location.hash.slice(1));
    if (i >= 0 && i !== chosen) choose(i, false);
  });
  at('made').append(`made ${when(data.made)} by shipit report`);
  document.documentElement.dataset.shownMs = Math.round(performance.now());
})();

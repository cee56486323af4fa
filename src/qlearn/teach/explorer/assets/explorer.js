// Explorers on a page: native controls, at most one redraw a frame. No kernel, no library but plotly.
(() => {
  "use strict";
  const here = document.currentScript && document.currentScript.src;
  const config = { displayModeBar: false, responsive: true, showTips: false };
  let plotly;

  const load = () => (plotly ??= window.Plotly ? Promise.resolve(window.Plotly) : new Promise((done, fail) => {
    const script = document.createElement("script");
    script.src = new URL("plotly.min.js", here);
    script.onload = () => done(window.Plotly);
    script.onerror = () => { plotly = null; fail(new Error("plotly.min.js could not be loaded")); };
    document.head.append(script);
  }));

  // Frames carry no colours of the page: they come from the style sheet, so they follow the theme.
  const template = (figure) => {
    const style = getComputedStyle(figure);
    const color = (name, other) => style.getPropertyValue(name).trim() || other;
    const ink = style.color, grid = color("--qx-grid", "rgba(128,128,128,.3)"), clear = "rgba(0,0,0,0)";
    const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, tickcolor: grid, automargin: true };
    const scale = [[0, color("--qx-low", "#1b4fc4")], [.5, color("--qx-middle", "#eceae6")], [1, color("--qx-high", "#b45309")]];
    return {
      layout: {
        font: { color: ink, family: style.fontFamily, size: 13 }, paper_bgcolor: clear, plot_bgcolor: clear,
        xaxis: axis, yaxis: axis, dragmode: false, margin: { l: 56, r: 16, t: 32, b: 48 },
        hoverlabel: { bgcolor: color("--qx-paper", "#fff"), bordercolor: grid, font: { color: ink } },
      },
      data: { heatmap: [{ colorscale: scale }] },
    };
  };

  // {"$": k} stands for pool[k]; arrays of numbers stay the same object, which spares plotly work.
  const restore = (pool, node) => {
    if (!node || typeof node !== "object") return node;
    if (Array.isArray(node)) return node[0] && typeof node[0] === "object" && !Array.isArray(node[0]) ? node.map((part) => restore(pool, part)) : node;
    if ("$" in node) return restore(pool, pool[node.$]);
    return Object.fromEntries(Object.entries(node).map(([key, part]) => [key, restore(pool, part)]));
  };

  const add = (a, b) => (Array.isArray(b) ? b.map((term, k) => add(a[k], term)) : a + b);
  const clean = (value) => Number(value.toPrecision(12));
  // Quotients and choices, as qlearn.teach.explorer.formula.resolve works them out.
  const resolve = (node) => {
    if (!node || typeof node !== "object") return node;
    if (Array.isArray(node)) return node.some((part) => part && typeof part === "object") ? node.map(resolve) : node;
    const of = Object.fromEntries(Object.entries(node).map(([key, part]) => [key, resolve(part)]));
    if (of.op === "choice") return clean(of.a) <= clean(of.b) ? of.then : of.else;
    if (of.op !== "ratio") return of;
    const value = Math.max(of.low ?? -Infinity, Math.min(of.high ?? Infinity, clean(of.over / of.under)));
    return of.floor ? Math.floor(value) : value;
  };
  const place = (controls, which, at) => which.reduce((k, c) => k * controls[c].labels.length + at[c], 0);
  const sum = ({ base, terms, pool, controls }, at) => {
    const tree = structuredClone(base);
    for (const [path, which, table, isWord] of terms) {
      const term = pool[table][place(controls, which, at)], last = path.length - 1;
      const node = path.slice(0, last).reduce((part, key) => part[key], tree);
      node[path[last]] = isWord ? term : add(node[path[last]], term);
    }
    return resolve(tree);
  };

  // {name}, {name:d}, {name:,.2f}: as qlearn.teach.explorer.text.fill does it.
  const fill = (text, numbers) => text.replace(/\{(\w+)(?::(,?)(?:\.(\d+)f|d))?\}/g, (_, name, comma, places) => {
    const value = numbers[name];
    if (typeof value === "string") return value;
    const [whole, rest] = (clean(value) + 0).toFixed(places || 0).split(".");
    const grouped = comma ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
    return rest ? `${grouped}.${rest}` : grouped;
  });

  const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);
  const axis = (trace, key) => (trace[`${key}axis`] ?? key).replace(/^./, "$&axis");
  const copy = (trace) => Object.fromEntries(Object.entries(trace).map(([key, part]) => [key, Array.isArray(part) ? part : structuredClone(part)]));
  // Words on a scale that begins at the page's own colour are written in the page's ink.
  const inked = (trace, color) => ({ ...copy(trace), ...(trace.type === "heatmap" && trace.colorscale && { textfont: { ...trace.textfont, color } }) });
  const moves = { scatter: ["x", "y"], bar: ["x", "y", "base"], heatmap: ["z"] };
  // Where only numbers of such traces differ, on axes that stand still, plotly moves them alone: a third of
  // the time of Plotly.react, or less. Gives {updates, traces, images}, or null where more has changed.
  const moved = (plot, was, data, layout) => {
    if (was?.data.length !== data.length || !same(was.layout, layout)) return null;
    const along = (trace, key) => (key !== "base" ? key : trace.orientation === "h" ? "x" : "y");
    const fixed = (trace, key) => key === "z" || layout[axis(trace, along(trace, key))]?.range;
    const updates = [], traces = [], images = [];
    for (const [k, trace] of data.entries()) {
      const old = was.data[k], keys = Object.keys({ ...old, ...trace }).filter((key) => !same(old[key], trace[key]));
      // The words of markers are seen on hovering alone.
      const hovered = (key) => key === "text" && trace.mode === "markers";
      if (keys.some((key) => !hovered(key) && (!moves[trace.type]?.includes(key) || !fixed(trace, key)))) return null;
      traces.push(k);  // the unchanged ones too: plotly takes off the figure what isn't named
      updates.push(Object.fromEntries(keys.map((key) => [key, trace[key]])));
      if (trace.type !== "heatmap" || !keys.length) continue;
      const image = [...plot.querySelectorAll(".hm image")].find((found) => found.__data__?.trace?.index === k);
      if (!image?.style.imageRendering) return null;  // plotly had no image of a pixel a cell
      const [bottom, top] = plot._fullLayout[axis(trace, "y")].range;
      images.push([image, bottom > top ? trace.z : [...trace.z].reverse(), plot._fullData[k]]);
    }
    return updates.some((update) => Object.keys(update).length) ? { updates, traces, images } : { traces: [], images };
  };

  // Plotly.animate takes heatmaps off the figure: put them back before the browser paints.
  const keep = (plot) => {
    if (!plot.querySelector(".hm")) return;
    const back = new MutationObserver((records) => {
      for (const { target, removedNodes, nextSibling } of records)
        for (const node of removedNodes)
          if (node.querySelector?.("image")) target.insertBefore(node, nextSibling?.parentNode === target ? nextSibling : null);
    });
    back.observe(plot, { childList: true, subtree: true });
    requestAnimationFrame(() => back.disconnect());
  };

  // plotly paints a heatmap only with all of the figure: renew its image as plotly does, a pixel a cell.
  const canvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height }).getContext("2d", { willReadFrequently: true });
  const SHADES = 1024;
  const paint = (image, z, { zmin, zmax, colorscale }) => {
    const strip = canvas(SHADES, 1), ramp = strip.createLinearGradient(0.5, 0, SHADES - 0.5, 0);
    colorscale.forEach(([at, color]) => ramp.addColorStop(at, color));
    strip.fillStyle = ramp;
    strip.fillRect(0, 0, SHADES, 1);
    const shades = new Uint32Array(strip.getImageData(0, 0, SHADES, 1).data.buffer);
    const cells = canvas(z[0].length, z.length), pixels = cells.createImageData(z[0].length, z.length);
    const shade = (value) => (value === null ? 0 : shades[Math.round(Math.min(1, Math.max(0, (value - zmin) / (zmax - zmin))) * (SHADES - 1))]);
    new Uint32Array(pixels.data.buffer).set(z.flat().map(shade));
    cells.putImageData(pixels, 0, 0);
    image.setAttributeNS("http://www.w3.org/1999/xlink", "href", cells.canvas.toDataURL());
  };

  const start = (figure) => {
    const bundle = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    const inputs = [...figure.querySelectorAll("[data-control]")];
    const plot = figure.querySelector(".qx-plot"), caption = figure.querySelector("figcaption");
    let waiting = false, again = false, drawn, look;
    const value = (input) => (input.type === "checkbox" ? Number(input.checked) : Number(input.value));
    const frame = (at) => {
      if (bundle.frames) return restore(bundle.pool, bundle.frames[place(bundle.controls, [...at.keys()], at)]);
      const tree = sum(bundle, at), said = tree.text;
      return { ...tree, text: said.line ?? fill(said.template, said.numbers) };
    };
    const draw = () => {
      const at = inputs.map(value), { data, layout, text } = frame(at);
      const alone = look && moved(plot, drawn, data, layout);
      drawn = { data, layout, place: at.join(",") };
      look ??= template(figure);
      const now = { duration: 0, redraw: false }, { updates, traces, images } = alone ?? {};
      if (alone) keep(plot);
      // plotly writes into what it is given: hand it copies, but the arrays as they are.
      const done = !alone
        ? Plotly.react(plot, data.map((trace) => inked(trace, look.layout.font.color)), { ...structuredClone(layout), template: look, height: bundle.height, autosize: true }, config)
        : traces.length && Plotly.animate(plot, [{ data: updates, traces }], { mode: "immediate", frame: now, transition: now });
      images?.forEach((image) => paint(...image));
      plot.setAttribute("aria-label", text);
      if (caption.textContent !== text) caption.textContent = text;
      figure.dataset.position = drawn.place;
      Promise.resolve(done).catch(() => {});  // plotly rejects a move that the next one overtakes
    };
    // The first move is drawn at once; those that follow within its frame are drawn as one, after it.
    const ask = () => load().then(() => {
      if (waiting) { again = true; return; }
      waiting = true;
      draw();
      requestAnimationFrame(() => {
        const more = again && drawn.place !== inputs.map(value).join(",");
        waiting = again = false;
        if (more) ask();
      });
    }, (error) => { caption.textContent = error.message; });
    inputs.forEach((input, c) => input.addEventListener("input", () => {
      const label = bundle.controls[c].labels[value(input)];
      if (input.type === "range") {
        input.setAttribute("aria-valuetext", label);
        figure.querySelector(`output[for="${input.id}"]`).textContent = label;
      }
      ask();
    }));
    figure.qxTheme = () => { look = null; return drawn && load().then(draw); };
    const near = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) { near.disconnect(); ask(); }
    }, { rootMargin: "400px" });
    near.observe(figure);
    addEventListener("beforeprint", () => drawn || !window.Plotly || draw());
    figure.dataset.ready = "";
  };

  const figures = () => document.querySelectorAll("figure.qx");
  const begin = () => document.querySelectorAll("figure.qx:not([data-ready])").forEach(start);
  const repaint = () => figures().forEach((figure) => figure.qxTheme && figure.qxTheme());
  new MutationObserver(repaint).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "theme", "class"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin); else begin();
})();

// Explorers on a page: native controls, and one Plotly.react a frame. No kernel, no library but plotly.
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
  const sum = (base, parts, at) => {
    const tree = structuredClone(base);
    at.forEach((k, control) => {
      for (const [path, term, isWord] of parts[control][k]) {
        const last = path.length - 1, node = path.slice(0, last).reduce((part, key) => part[key], tree);
        node[path[last]] = isWord ? term : add(node[path[last]], term);
      }
    });
    return tree;
  };

  // {name}, {name:d}, {name:,.2f}: as qlearn.explorer_text.fill does it.
  const fill = (text, numbers) => text.replace(/\{(\w+)(?::(,?)(?:\.(\d+)f|d))?\}/g, (_, name, comma, places) => {
    const value = numbers[name];
    if (typeof value === "string") return value;
    const [whole, rest] = (Number(value.toPrecision(12)) + 0).toFixed(places || 0).split(".");
    const grouped = comma ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
    return rest ? `${grouped}.${rest}` : grouped;
  });

  const start = (figure) => {
    const bundle = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
    const inputs = [...figure.querySelectorAll("[data-control]")];
    const plot = figure.querySelector(".qx-plot"), caption = figure.querySelector("figcaption");
    let queued = 0, drawn = false, look;
    const value = (input) => (input.type === "checkbox" ? Number(input.checked) : Number(input.value));
    const frame = (at) => {
      if (!bundle.parts) return restore(bundle.pool, bundle.frames[at.reduce((k, i, c) => k * bundle.controls[c].labels.length + i, 0)]);
      const tree = sum(bundle.base, bundle.parts, at), said = tree.text;
      return { ...tree, text: said.line ?? fill(said.template, said.numbers) };
    };
    const draw = () => {
      queued = 0;
      const began = performance.now();
      const at = inputs.map(value), { data, layout, text } = frame(at);
      drawn = true;
      look ??= template(figure);
      // plotly writes into what it is given: hand it copies, but the arrays as they are.
      Plotly.react(plot, data.map((trace) => ({ ...trace })), { ...structuredClone(layout), template: look, height: bundle.height, autosize: true }, config)
        .then(() => performance.measure("qx-draw", { start: began }));
      plot.setAttribute("aria-label", text);
      if (caption.textContent !== text) caption.textContent = text;
      figure.dataset.position = at.join(",");
    };
    const ask = () => load().then(() => { queued ||= requestAnimationFrame(draw); }, (error) => { caption.textContent = error.message; });
    inputs.forEach((input, c) => input.addEventListener("input", () => {
      const label = bundle.controls[c].labels[value(input)];
      if (input.type === "range") {
        input.setAttribute("aria-valuetext", label);
        figure.querySelector(`output[for="${input.id}"]`).textContent = label;
      }
      ask();
    }));
    figure.qxTheme = () => { look = null; return drawn && ask(); };
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

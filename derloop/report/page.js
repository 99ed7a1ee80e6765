"use strict";
(function () {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const narrow = window.matchMedia("(max-width: 560px)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false, showTips: false, plotlyServerURL: "", showSendToCloud: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
    toImageButtonOptions: { format: "svg", filename: "derloop" },
  };
  const axes = report.times.map(instants);
  const clock = axes.some((axis) => axis.some((ms) => ms % 1000)) ? "%H:%M:%S.%3f" : "%H:%M:%S";
  let printing = false;
  let shown = 0;

  /* ms since 1970 as if local time were UTC, which is what plotly's date axes count in */
  function instants(axis) {
    const seconds = Array.isArray(axis) ? axis : Array.from({ length: axis.count }, (_, i) => axis.from + i * axis.step);
    return seconds.map((s) => report.start_ms + s * 1000);
  }

  function css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }

  /* "@blue/0.2": a colour of the page's theme, and its opacity */
  function colour(token) {
    const [name, opacity] = token.slice(1).split("/");
    const hex = css(name);
    if (opacity === undefined) return hex;
    const parts = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    return "rgba(" + parts.join(",") + "," + opacity + ")";
  }

  function themed(value, key) {
    if (typeof value === "string") return (key === "color" || key === "fillcolor") && value[0] === "@" ? colour(value) : value;
    if (Array.isArray(value) || value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, k)]));
  }

  function trace(spec) {
    return Object.assign(themed(spec), { x: axes[spec.x] });
  }

  /* whole numbers have ticks at whole numbers, each once */
  function whole(figure) {
    if (!figure.whole_numbers) return {};
    const values = figure.traces.flatMap((t) => t.y).filter((y) => y !== null);
    const span = Math.max(...values) - Math.min(...values);
    return { tickformat: "d", tick0: 0, dtick: Math.max(1, Math.ceil(span / 8)) };
  }

  /* a single instant has a minute on either side */
  function around(figure) {
    const ends = figure.traces.flatMap((t) => [axes[t.x][0], axes[t.x].at(-1)]).filter((ms) => ms !== undefined);
    const from = Math.min(...ends), to = Math.max(...ends);
    return from === to ? { range: [from - 60000, to + 60000] } : {};
  }

  function layout(figure, width) {
    const line = css("line"), ink = css("ink"), quiet = css("quiet"), card = css("card");
    const many = figure.traces.length > 9;
    const named = figure.traces.filter((t) => t.showlegend !== false).length;
    const axis = { gridcolor: css("grid"), linecolor: line, zerolinecolor: line, tickfont: { color: quiet, size: 12 }, automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      margin: { l: 8, r: 12, t: 28, b: 8 },
      width: printing ? 680 : undefined,
      height: printing ? 380 : undefined,
      showlegend: named > 1,
      legend: { orientation: "h", x: 0, y: width < 700 ? -0.22 : -0.13, yanchor: "top", font: { color: ink, size: 12 }, maxheight: printing ? 190 : 90 },
      hovermode: many ? "closest" : "x unified",
      hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink, size: 12 }, namelength: 40 },
      xaxis: Object.assign({
        type: "date", nticks: Math.max(3, Math.min(12, Math.floor(width / 85))), hoverformat: report.elapsed ? clock : "%-d %b, " + clock,
        tickformatstops: [
          { dtickrange: [null, 99], value: "%H:%M:%S.%3f" },
          { dtickrange: [100, 999], value: "%H:%M:%S.%1f" },
          { dtickrange: [1000, 59999], value: "%H:%M:%S" },
          { dtickrange: [60000, 86399999], value: report.elapsed ? "%H:%M" : "%H:%M\n%-d %b" },
          { dtickrange: [86400000, "M1"], value: "%-d %b" },
          { dtickrange: ["M1", null], value: "%b %Y" },
        ],
      }, around(figure), axis),
      yaxis: Object.assign({
        title: { text: figure.unit === "1" ? "" : figure.unit, font: { color: quiet, size: 12 }, standoff: 6 },
        hoverformat: ".5~g", zeroline: true, separatethousands: true, exponentformat: "none",
      }, whole(figure), axis),
      modebar: { bgcolor: "rgba(0,0,0,0)", color: quiet, activecolor: ink },
      separators: ".\u2009",
    };
  }

  function draw(element, figure) {
    return Plotly.react(element, figure.traces.map(trace), layout(figure, printing ? 680 : element.clientWidth), config);
  }

  const charts = Array.from(document.querySelectorAll("[data-figure]"));
  const chooser = document.getElementById("signal");
  const chosen = document.getElementById("signal-chart");

  function drawSignal() {
    if (!chooser) return;
    shown = Number(chooser.value);
    const signal = report.signals[shown];
    document.getElementById("signal-note").textContent = signal.note;
    draw(chosen, signal);
  }

  function drawAll() {
    charts.forEach((element) => draw(element, report.figures[Number(element.dataset.figure)]));
    drawSignal();
  }

  /* who zooms into one chart looks at the same time in all of them */
  let following = false;
  function follow(source, change) {
    const whole = change["xaxis.autorange"], from = change["xaxis.range[0]"], to = change["xaxis.range[1]"];
    if (following || (!whole && from === undefined)) return;
    following = true;
    const same = whole ? { "xaxis.autorange": true } : { "xaxis.range": [from, to] };
    const others = charts.filter((element) => element !== source);
    Promise.all(others.map((element) => Plotly.relayout(element, same))).finally(() => { following = false; });
  }

  drawAll();
  charts.forEach((element) => element.on("plotly_relayout", (change) => follow(element, change)));
  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  if (chooser) chooser.addEventListener("change", drawSignal);
  document.querySelectorAll("[data-signal]").forEach((button) => button.addEventListener("click", () => {
    chooser.value = button.dataset.signal;
    drawSignal();
    chosen.scrollIntoView({ block: "center" });
  }));

  function print(on) {
    printing = on;
    document.documentElement.classList.toggle("print", on);
    document.querySelectorAll("details").forEach((element) => { element.open = on; });
    drawAll();
    if (!on) [...charts, chosen].forEach((element) => element && Plotly.Plots.resize(element));
  }
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
})();

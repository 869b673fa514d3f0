(function () {
  "use strict";
  var root = document.documentElement, button = document.getElementById("theme");
  button.hidden = false;
  button.onclick = function () {
    var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  var svg = document.querySelector("svg.timeline"), tip = document.querySelector(".tip");
  if (!svg || !tip) { return; }
  var columns = JSON.parse(document.getElementById("columns").textContent), cursor = svg.querySelector(".cursor");
  var begin = +svg.dataset.begin, end = +svg.dataset.end, left = +svg.dataset.left, right = +svg.dataset.right;
  var width = columns.length > 1 ? columns[1].begin_s - columns[0].begin_s : 1;
  function ms(value) { return value === null ? "no answer" : value >= 1000 ? (value / 1000).toFixed(2) + " s" : value.toFixed(1) + " ms"; }
  function text(c) {
    var lines = [c.begin_s + " s", Math.round(c.good) + " good/s"];
    if (c.failed) { lines.push(c.failed.toFixed(c.failed < 10 ? 1 : 0) + " refused/s"); }
    if (c.unknown) { lines.push(c.unknown.toFixed(c.unknown < 10 ? 1 : 0) + " no clear answer/s"); }
    if (c.skipped) { lines.push(c.skipped.toFixed(c.skipped < 10 ? 1 : 0) + " not sent/s"); }
    lines.push("median " + ms(c.p50), "p99 " + ms(c.p99));
    Object.keys(c.zones).forEach(function (zone) {
      var share = c.zones[zone];
      lines.push("zone " + zone + " " + (share === null ? "no operation" : (Math.floor(share * 10000) / 100) + " %"));
    });
    Object.keys(c.canaries).forEach(function (zone) {
      lines.push("canaries through " + zone + " " + (Math.floor(c.canaries[zone] * 10000) / 100) + " %");
    });
    return lines.join("\n");
  }
  function hide() { tip.hidden = true; cursor.style.visibility = "hidden"; }
  svg.addEventListener("mouseleave", hide);
  svg.addEventListener("mousemove", function (event) {
    var box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    var x = (event.clientX - box.left) * scale, t = begin + (x - left) / (right - left) * (end - begin);
    var column = columns[Math.floor((t - begin) / width)];
    if (x < left || x > right || !column) { hide(); return; }
    tip.textContent = text(column);
    tip.hidden = false;
    cursor.setAttribute("x1", x); cursor.setAttribute("x2", x); cursor.style.visibility = "visible";
    var room = box.width - (event.clientX - box.left);
    tip.style.left = (event.clientX - box.left + (room < 190 ? -tip.offsetWidth - 14 : 14)) + "px";
    tip.style.top = (event.clientY - box.top - 20) + "px";
  });
})();

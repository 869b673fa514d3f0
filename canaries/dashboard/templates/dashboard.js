(function () {
  "use strict";
  var root = document.documentElement, lost = document.getElementById("lost"), clock = document.getElementById("clock");
  var saved = null, heard = Date.now(), token = new URLSearchParams(location.search).get("token") || "";
  try { saved = localStorage.getItem("theme"); } catch (error) { /* a browser that keeps nothing */ }
  if (saved) { root.dataset.theme = saved; }
  document.getElementById("theme").onclick = function () {
    var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch (error) { /* as above */ }
  };
  function age() {
    var old = Date.now() - heard > 6000;
    lost.hidden = !old;
    document.body.classList.toggle("lost", old);
  }
  function listen() {
    var stream = new EventSource("events?token=" + encodeURIComponent(token));
    stream.onmessage = function (message) {
      var update = JSON.parse(message.data);
      heard = Date.now();
      document.title = update.title;
      clock.textContent = update.clock;
      Object.keys(update.panels).forEach(function (name) {
        var panel = document.getElementById(name);
        if (panel) { panel.innerHTML = update.panels[name]; }
      });
      age();
    };
    stream.onerror = function () {
      // A server that comes back may refuse at first; the browser gives up on a refusal, we do not.
      if (stream.readyState === EventSource.CLOSED) { stream.close(); setTimeout(listen, 2000); }
    };
  }
  setInterval(age, 1000);
  listen();
})();

/* The serial console: a terminal, a ticket from the API, and a WebSocket to the console gateway. */
"use strict";

(() => {
  const box = document.getElementById("console");
  const state = document.getElementById("console-state");
  const again = document.getElementById("console-again");

  /* The terminal makes style elements; the page's policy wants to know that they are ours. */
  const nonce = document.currentScript.nonce;
  const make = document.createElement.bind(document);
  document.createElement = (name, options) => {
    const made = make(name, options);
    if (String(name).toLowerCase() === "style") made.nonce = nonce;
    return made;
  };

  const terminal = new Terminal({
    convertEol: false, cursorBlink: true, fontSize: 14, lineHeight: 1.15, scrollback: 5000, screenReaderMode: true,
    fontFamily: "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    theme: { background: "#10151c", foreground: "#d7dde5" },
  });
  const fit = new FitAddon.FitAddon();
  terminal.loadAddon(fit);
  terminal.open(box);
  fit.fit();
  addEventListener("resize", () => fit.fit());

  const say = (words, over = false) => {
    state.textContent = words;
    again.hidden = !over;
  };

  const open = (answer) => {
    const socket = new WebSocket(answer.address);
    const typing = [];
    let ended = "The console gateway does not answer, or the connection broke.";
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(answer.ticket);
    socket.onmessage = (message) => {
      if (typeof message.data !== "string") {
        terminal.write(new Uint8Array(message.data));
        return;
      }
      const words = JSON.parse(message.data);
      if (words.ended) ended = words.ended;
      if (!words.opened) return;
      say(`Connected to ${box.dataset.name}. Press Enter if nothing shows.`);
      terminal.focus();
      const send = (bytes) => socket.readyState === WebSocket.OPEN && socket.send(bytes);
      typing.push(terminal.onData((text) => send(new TextEncoder().encode(text))));
      typing.push(terminal.onBinary((text) => send(Uint8Array.from(text, (letter) => letter.charCodeAt(0)))));
    };
    socket.onclose = () => {
      typing.forEach((listener) => listener.dispose());
      say(`Ended: ${ended}`, true);
    };
  };

  const ask = async () => {
    say(`Opening the console of ${box.dataset.name}…`);
    terminal.reset();
    try {
      const response = await fetch(box.dataset.ask, { method: "POST", headers: { "X-CSRFToken": box.dataset.csrf } });
      const answer = await response.json();
      if (!response.ok) say(`Refused: ${answer.detail}`, true);
      else open(answer);
    } catch {
      say("Slipway does not answer at present.", true);
    }
  };

  again.addEventListener("click", ask);
  ask();
})();

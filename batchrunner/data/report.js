"use strict";
(() => {
  const list = document.getElementById("cards");
  const cards = Array.from(list.children);
  const controls = document.getElementById("controls");
  const count = document.getElementById("count");
  const none = document.getElementById("none");
  const find = document.getElementById("find");
  const from = document.getElementById("cost-from");
  const to = document.getElementById("cost-to");
  const sort = document.getElementById("sort");
  const chips = Array.from(controls.querySelectorAll(".chip"));
  const choices = Array.from(controls.querySelectorAll("select[data-filter]"));
  const facts = new Map(cards.map((card) => [card, {
    tags: JSON.parse(card.dataset.tags),
    cost: Number(card.dataset.cost),
    text: null,
  }]));
  let state = "";

  const textOf = (card) => {
    const fact = facts.get(card);
    fact.text ??= card.textContent.toLowerCase();
    return fact.text;
  };

  const fits = (card) => {
    const data = card.dataset;
    const fact = facts.get(card);
    if (state === "suspect" ? !("suspect" in data) : state && data.state !== state) return false;
    for (const choice of choices) {
      const key = choice.dataset.filter;
      if (!choice.value) continue;
      if (key === "tag" ? !fact.tags.includes(choice.value) : data[key] !== choice.value) return false;
    }
    if (from.value !== "" && fact.cost < Number(from.value)) return false;
    if (to.value !== "" && fact.cost > Number(to.value)) return false;
    const word = find.value.trim().toLowerCase();
    return !word || textOf(card).includes(word);
  };

  const by = (key) => (one, other) => Number(other.dataset[key]) - Number(one.dataset[key]);
  const compare = (one, other) => one.localeCompare(other, undefined, { numeric: true });
  const words = (key) => (one, other) => compare(one.dataset[key], other.dataset[key]);
  // Those without a style or a tag come after the others.
  const named = (nameOf) => (one, other) => (nameOf(one) && nameOf(other) ? compare(nameOf(one), nameOf(other)) : Number(!nameOf(one)) - Number(!nameOf(other)));
  const orders = {
    "id": words("id"),
    "cost-down": by("cost"),
    "cost-up": (one, other) => by("cost")(other, one),
    "took": by("took"),
    "ended": by("ended"),
    "state": words("state"),
    "kind": words("kind"),
    "model": words("model"),
    "style": named((card) => card.dataset.style),
    "tag": named((card) => facts.get(card).tags[0] ?? ""),
  };

  const filter = () => {
    let shown = 0;
    for (const card of cards) {
      const isShown = fits(card);
      card.hidden = !isShown;
      shown += isShown;
    }
    none.hidden = shown > 0;
    const all = `${cards.length.toLocaleString("en")} ${cards.length === 1 ? "job" : "jobs"}`;
    count.textContent = shown === cards.length ? all : `${shown.toLocaleString("en")} of ${all}`;
  };

  const arrange = () => {
    const order = orders[sort.value];
    const inPlace = (one, other) => Number(one.dataset.n) - Number(other.dataset.n);
    const sorted = cards.slice().sort((one, other) => (order && order(one, other)) || inPlace(one, other));
    list.append(...sorted);
  };

  const choose = (wanted) => {
    state = wanted;
    for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.state === state));
    filter();
  };

  for (const chip of chips) chip.addEventListener("click", () => choose(chip.dataset.state));
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("input", (event) => (event.target === sort ? arrange() : filter()));
  controls.addEventListener("reset", () => setTimeout(() => { arrange(); choose(""); }));
  // A link to a card must lead to it even while a filter hides it.
  addEventListener("hashchange", () => {
    const card = document.getElementById(location.hash.slice(1));
    if (card && card.hidden) { controls.reset(); setTimeout(() => card.scrollIntoView(), 0); }
  });

  // Loops are read when the first of them is played.
  let loops = null;
  const loopOf = (card) => {
    loops ??= JSON.parse(document.getElementById("loops").textContent);
    return loops[card.dataset.n];
  };
  const play = (figure, isOn) => {
    const image = figure.querySelector("img");
    const button = figure.querySelector(".play");
    const source = isOn ? loopOf(figure.closest(".card")) : image && image.dataset.still;
    if (!image || !source || figure.classList.contains("is-playing") === isOn) return;
    image.dataset.still ??= image.getAttribute("src");
    image.src = source;
    figure.classList.toggle("is-playing", isOn);
    button.setAttribute("aria-pressed", String(isOn));
  };
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)");
  for (const button of list.querySelectorAll(".play")) {
    const figure = button.parentElement;
    let isHeld = false;
    button.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse" && !isCalm.matches) play(figure, true);
    });
    button.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !isHeld) play(figure, false);
    });
    button.addEventListener("click", () => { isHeld = !isHeld; play(figure, isHeld); });
  }

  // On paper nothing is scrolled to, so nothing may wait for that.
  addEventListener("beforeprint", () => {
    for (const image of list.querySelectorAll(".card:not([hidden]) img")) image.loading = "eager";
  });

  filter();
  controls.hidden = false;
  document.getElementById("unscripted").hidden = true;
})();

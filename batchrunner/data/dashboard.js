"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const number = (value) => (value ?? 0).toLocaleString("en");
  const make = (name, words, className) => {
    const made = document.createElement(name);
    if (words !== undefined && words !== null) made.textContent = words;
    if (className) made.className = className;
    return made;
  };
  const bytes = (count) => {
    for (const unit of ["B", "kB", "MB"]) {
      if (count < 1000) return `${unit === "B" ? count : count.toFixed(1)} ${unit}`;
      count /= 1000;
    }
    return `${count.toFixed(1)} GB`;
  };
  const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
  const moment = (at) => {
    const when = new Date(at * 1000);
    const isToday = when.toDateString() === new Date().toDateString();
    const time = when.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    return isToday ? time : `${when.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" })}, ${time}`;
  };
  const span = (seconds) => {
    const whole = Math.max(0, Math.round(seconds));
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min`;
    return `${Math.floor(whole / 3600)} h ${String(Math.floor(whole % 3600 / 60)).padStart(2, "0")} min`;
  };

  // --- the token: from the address to this tab, and out of sight --------------------------------------------------
  const said = new URLSearchParams(location.hash.slice(1)).get("token");
  if (said) {
    sessionStorage.setItem("token", said);
    history.replaceState(null, "", location.pathname);
  }
  const token = sessionStorage.getItem("token") ?? "";
  const post = async (path, body) => {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Batchrunner-Token": token },
      body: JSON.stringify(body ?? {}),
    });
    const told = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error([told.error ?? `the answer was ${answer.status}`, told.hint].filter(Boolean).join(". "));
    return told;
  };
  const complain = (words) => { get("problem").textContent = words; get("problem").hidden = !words; };
  const live = (words) => { if (get("live").textContent !== words) get("live").textContent = words; };

  const listen = (path, take) => {
    const source = new EventSource(path);
    source.addEventListener("open", () => live("live"));
    source.addEventListener("message", (event) => { live("live"); take(JSON.parse(event.data)); });
    source.addEventListener("error", () => {
      live("not connected; trying again");
      if (source.readyState !== EventSource.CLOSED) return;
      fetch(path.replace(/\/events$/, "")).then(async (answer) => {
        if (answer.ok) { setTimeout(() => listen(path, take), 2000); return; }
        complain((await answer.json().catch(() => ({}))).error ?? "There is no such batch here.");
        live("not connected");
      }, () => setTimeout(() => listen(path, take), 2000));
    });
  };

  const ORDER = ["ready", "uploaded", "submitting", "rendering", "rendered", "uncertain", "done", "failed", "canceled"];
  const BAR = ["done", "failed", "canceled", "uncertain", "rendered", "rendering", "submitting", "uploaded", "ready"];
  const setBar = (svg, parts, most) => {
    let x = 0;
    svg.replaceChildren(...parts.filter(([, count]) => count > 0).map(([name, count]) => {
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const width = 1000 * count / Math.max(1, most);
      rect.setAttribute("class", `is-${name}`);
      rect.setAttribute("x", x.toFixed(2));
      rect.setAttribute("width", width.toFixed(2));
      rect.setAttribute("height", "10");
      x += width;
      return rect;
    }));
  };
  const stateWords = (summary) => ORDER.filter((each) => summary.by_state[each]).map((each) => `${number(summary.by_state[each])} ${each}`).join(", ") || "no jobs";
  const newBar = () => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [name, value] of [["class", "bar"], ["viewBox", "0 0 1000 10"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"], ["focusable", "false"]]) svg.setAttribute(name, value);
    return svg;
  };
  const runWords = (summary) => {
    if (summary.is_running) return summary.paused ? "buying paused" : "running";
    if (!summary.started_at) return "not begun";
    return summary.ended_at ? "ended" : "cut short";
  };
  const endsWords = (summary) => (summary.ends_at ? `about ${moment(summary.ends_at)}` : "—");
  const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

  // --- several batches side by side -------------------------------------------------------------------------------
  const boards = new Map();
  const showOverview = ({ batches }) => {
    get("no-batches").hidden = batches.length > 0;
    for (const batch of batches) {
      let entry = boards.get(batch.id);
      if (!entry) {
        const item = make("li", null, "card board");
        const link = make("a", batch.name);
        link.href = `/m/${batch.id}`;
        const title = make("h3");
        title.append(link);
        entry = { run: make("p", "", "facts"), bar: newBar(), states: make("p", "", "quiet"), credits: make("p", "", "facts"), why: make("p", "", "why is-suspect") };
        item.append(title, entry.run, entry.bar, entry.states, entry.credits, entry.why);
        get("boards").append(item);
        boards.set(batch.id, entry);
      }
      entry.run.textContent = [runWords(batch), batch.ends_at && `over ${endsWords(batch)}`].filter(Boolean).join(" · ");
      setBar(entry.bar, BAR.map((each) => [each, batch.by_state[each] ?? 0]), batch.jobs);
      entry.states.textContent = `${number(batch.over)} of ${number(batch.jobs)} over: ${stateWords(batch)}`;
      const cap = batch.credits.cap === null ? "" : ` of ${number(batch.credits.cap)}`;
      entry.credits.textContent = `${number(batch.credits.charged)}${cap} credits charged, ${number(batch.credits.reserved)} reserved`;
      entry.why.textContent = batch.trouble ?? (batch.waits.length ? `waiting: ${batch.waits[0].why}` : doubtWords(batch)[0] ?? "");
    }
  };

  // --- one batch --------------------------------------------------------------------------------------------------
  const PAGE = 48;
  const LOGGED = 300;
  const jobs = new Map();
  const cards = new Map();
  const chosen = new Set();
  let changes = 0;
  let state = "";
  let shownPage = 0;
  let base = "";
  let told = 0;

  const picture = (job, which, label) => {
    const figure = make("figure");
    figure.append(make("span", "…", "nothing"), make("figcaption", label));
    const image = make("img");
    image.alt = `${label}: ${job.id}`;
    image.loading = "lazy";
    image.decoding = "async";
    image.addEventListener("load", () => figure.querySelector(".nothing")?.remove());
    image.addEventListener("error", () => {
      image.remove();
      fetch(image.src).then((answer) => answer.json()).then((why) => { figure.querySelector(".nothing").textContent = why.error; }, () => {});
    });
    image.src = `${base}/jobs/${job.n}/${which}.webp?v=${job.attempt}-${job.ended_at ?? 0}`;
    figure.prepend(image);
    return figure;
  };
  const nothing = (words, label) => {
    const figure = make("figure");
    figure.append(make("span", words, "nothing"), make("figcaption", label));
    return figure;
  };
  const open = (job) => {
    get("play-title").textContent = job.id;
    get("play-stage").replaceChildren(...job.files.map((file, at) => {
      const isVideo = file.path.toLowerCase().endsWith(".mp4");
      const shown = make(isVideo ? "video" : "a", isVideo ? null : file.path);
      if (isVideo) { shown.controls = true; shown.autoplay = !matchMedia("(prefers-reduced-motion: reduce)").matches; shown.setAttribute("aria-label", file.path); }
      shown[isVideo ? "src" : "href"] = `${base}/jobs/${job.n}/files/${at}`;
      return shown;
    }));
    get("play").showModal();
  };
  const tell = async (job) => {
    get("story-title").textContent = `What happened to ${job.id}`;
    get("story-lines").replaceChildren();
    get("story-why").hidden = true;
    get("story").showModal();
    try {
      const answer = await fetch(`${base}/jobs/${job.n}/log`);
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error);
      const many = found.log.some((each) => each.attempt > 1);
      get("story-lines").replaceChildren(...found.log.map((each) => {
        const at = Date.parse(each.at) / 1000;
        const line = make("li");
        const time = make("time", clock(at));
        time.dateTime = each.at;
        time.title = moment(at);
        line.append(time, make("strong", many ? `${each.attempt}: ${each.event}` : each.event), make("span", each.text));
        return line;
      }));
    } catch (error) {
      get("story-why").textContent = error.message || "it cannot be read now";
      get("story-why").hidden = false;
    }
  };
  const build = (job) => {
    const card = make("li", null, "card");
    card.dataset.n = job.n;
    const article = make("article");
    const stage = make("div", null, "stage");
    stage.append(
      job.has_before ? picture(job, "before", "before") : nothing("no local input", "before"),
      job.files.length ? picture(job, "after", "after") : nothing(`nothing yet: ${job.state}`, "after"),
    );
    if (job.files.length) {
      const button = make("button", null, "play");
      button.type = "button";
      button.setAttribute("aria-label", `Play ${job.id}`);
      button.addEventListener("click", () => open(jobs.get(job.n)));
      stage.lastChild.classList.add("moving");
      stage.lastChild.append(button);
    }
    const head = make("header");
    const badges = make("span", null, "badges");
    badges.append(make("span", job.suspect ? "suspect" : job.state, `badge is-${job.suspect ? "suspect" : job.state}`));
    head.append(make("h3", job.id), badges);
    const price = job.charged === null ? (job.estimated === null ? "price not known" : `about ${number(job.estimated)} credits`) : `${number(job.charged)} credits`;
    article.append(head, make("p", [job.kind, job.model, price, job.attempt > 1 && `attempt ${job.attempt}`].filter(Boolean).join(" · "), "facts"));
    if (job.prompt) article.append(make("p", job.prompt, "prompt"));
    if (job.suspect) article.append(make("p", job.suspect, "why is-suspect"));
    else if (job.reason && job.state !== "done") article.append(make("p", job.reason, job.state === "failed" || job.state === "uncertain" ? "why" : "facts"));
    if (job.doubt) article.append(...doubt(job));
    for (const file of job.files) article.append(make("p", `${file.path} (${bytes(file.bytes)})`, "path"));
    const told = make("p", null, "acts");
    const log = make("button", "Log …", "act is-log");
    log.type = "button";
    log.setAttribute("aria-label", `Log of ${job.id}`);
    log.addEventListener("click", () => tell(job));
    told.append(log);
    article.append(told);
    if (job.state === "failed" || job.state === "canceled") {
      const label = make("label", null, "pick");
      const box = make("input");
      box.type = "checkbox";
      box.checked = chosen.has(job.n);
      box.addEventListener("change", () => { if (box.checked) chosen.add(job.n); else chosen.delete(job.n); showChosen(); });
      const words = make("p");
      label.append(box, make("span", `Select ${job.id}`));
      words.append(label);
      article.append(words);
    }
    card.append(stage, article);
    return card;
  };

  // --- a submission that only a person can judge ---
  const doubt = (job) => {
    const words = make("p", "Look in ", "facts");
    const library = make("a", "your library");
    library.href = job.doubt.library;
    library.rel = "noreferrer noopener";
    words.append(library, " for ", make("code", job.doubt.sent_as), `, sent ${moment(job.doubt.sent_at)}. It is there: type the first, with its id. It is not: the second.`);
    const typed = [["adopts", job.doubt.adopt], ["resolves", job.doubt.resolve]].map(([what, command]) => {
      const shown = make("pre", command);
      shown.tabIndex = 0;
      shown.setAttribute("role", "group");
      shown.setAttribute("aria-label", `Command that ${what} ${job.id}`);
      return shown;
    });
    return [words, ...typed];
  };
  const doubtWords = (summary) => {
    const count = summary.by_state.uncertain ?? 0;
    return count ? [`${plural(count, "submission")} that may have been bought: a person has to look, and the ${count === 1 ? "card says" : "cards say"} what to type`] : [];
  };

  const fits = (job) => {
    if (state === "suspect" ? !job.suspect : state && job.state !== state) return false;
    const word = get("find").value.trim().toLowerCase();
    return !word || `${job.id} ${job.prompt} ${job.tags.join(" ")} ${job.model} ${job.state === "done" ? "" : job.reason}`.toLowerCase().includes(word);
  };
  const orders = {
    new: (one, other) => other.changed - one.changed || one.n - other.n,
    order: (one, other) => one.n - other.n,
    cost: (one, other) => (other.charged ?? other.estimated ?? 0) - (one.charged ?? one.estimated ?? 0) || one.n - other.n,
  };
  const arrange = () => {
    const all = Array.from(jobs.values());
    const found = all.filter(fits).sort(orders[get("sort").value]);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    shownPage = Math.min(shownPage, pages - 1);
    const shown = found.slice(shownPage * PAGE, (shownPage + 1) * PAGE);
    const wanted = shown.map((job) => {
      let card = cards.get(job.n);
      if (!card) { card = build(job); cards.set(job.n, card); }
      return card;
    });
    const list = get("cards");
    // Cards that stay where they are keep their place, what is focused in them, and what is loaded.
    for (const [at, card] of wanted.entries()) if (list.children[at] !== card) list.insertBefore(card, list.children[at] ?? null);
    while (list.children.length > wanted.length) list.lastChild.remove();
    for (const [n, card] of cards) if (!card.isConnected) cards.delete(n);
    const words = found.length === all.length ? plural(all.length, "job") : `${number(found.length)} of ${plural(all.length, "job")}`;
    if (get("count").textContent !== words) get("count").textContent = words;
    get("pager").hidden = pages < 2;
    get("page").textContent = `${shownPage + 1} of ${pages}`;
    get("back").disabled = shownPage === 0;
    get("on").disabled = shownPage >= pages - 1;
    showChosen();
  };
  const showChosen = () => {
    get("chosen").hidden = chosen.size === 0;
    get("chosen-count").textContent = `${number(chosen.size)} selected`;
  };
  const chip = (name, label, count) => {
    let button = get("chips").querySelector(`[data-state="${name}"]`);
    if (!button) {
      button = make("button", null, "chip");
      button.type = "button";
      button.dataset.state = name;
      button.append(document.createTextNode(label), make("span"));
      button.addEventListener("click", () => {
        state = name;
        shownPage = 0;
        for (const each of get("chips").children) each.setAttribute("aria-pressed", String(each.dataset.state === state));
        arrange();
      });
      button.setAttribute("aria-pressed", String(name === state));
      get("chips").append(button);
    }
    button.querySelector("span").textContent = number(count);
    button.hidden = count === 0 && name !== "" && name !== state;
  };

  const showSummary = (summary) => {
    const set = (id, words) => { if (get(id).textContent !== words) get(id).textContent = words; };
    set("over", number(summary.over));
    set("jobs", number(summary.jobs));
    setBar(get("state-bar"), BAR.map((each) => [each, summary.by_state[each] ?? 0]), summary.jobs);
    set("states-words", stateWords(summary));
    const { charged, reserved, refunded, estimated, cap, unknown } = summary.credits;
    for (const [id, value] of Object.entries({ charged, reserved, refunded, estimated })) set(id, number(value));
    set("cap", cap === null ? "" : `of ${number(cap)} allowed`);
    set("unknown", unknown ? `; ${plural(unknown, "charge")} not told yet` : "");
    setBar(get("credit-bar"), [["spent", charged], ["reserved", reserved]], Math.max(cap ?? estimated, charged + reserved));
    set("ends", endsWords(summary));
    const left = summary.jobs - summary.over;
    set("ends-words", summary.ends_at ? `in ${span(summary.ends_at - Date.now() / 1000)}; in 9 of 10 cases by ${moment(summary.ends_late_at)} (by ${summary.ends_by})` : left ? (summary.is_running ? (summary.paused ? "the buying is paused" : "no forecast yet") : `${plural(left, "job")} left`) : "nothing is left to do");
    set("run", runWords(summary));
    set("run-words", summary.started_at ? `begun ${moment(summary.started_at)}${summary.ended_at ? `, ended ${moment(summary.ended_at)}` : ""}` : "");
    for (const button of document.querySelectorAll(".act[data-action]")) {
      const action = button.dataset.action;
      if (action === "pause") button.hidden = !summary.is_running || summary.paused;
      if (action === "resume") button.hidden = !summary.is_running || !summary.paused;
      if (action === "cancel") button.hidden = !summary.retry;
      if (action === "retry") button.hidden = summary.is_running || summary.retry || !((summary.by_state.failed ?? 0) + (summary.by_state.canceled ?? 0));
    }
    const waits = [
      ...summary.waits.map((each) => `${plural(each.jobs, "job")} (${each.step}): ${each.why}`),
      ...(summary.retry ? [summary.retry] : []),
      ...summary.stalls,
      ...Object.entries(summary.pauses).map(([step, words]) => `${step}: ${words}`),
      ...doubtWords(summary),
    ];
    get("waits").hidden = waits.length === 0;
    get("no-waits").hidden = waits.length > 0;
    const before = Array.from(get("waits").children, (each) => each.textContent);
    if (waits.join("\n") !== before.join("\n")) get("waits").replaceChildren(...waits.map((words) => make("li", words)));
    chip("", "All", summary.jobs);
    for (const each of ORDER) chip(each, each, summary.by_state[each] ?? 0);
    chip("suspect", "suspect", summary.suspects);
    complain(summary.trouble ?? "");
    for (const each of summary.said) {
      if (each.at <= told) continue;
      addLine(each.at, "", each.text);
      told = each.at;
    }
  };
  const addLine = (at, job, words) => {
    const line = make("li");
    const time = make("time", clock(at));
    time.dateTime = new Date(at * 1000).toISOString();
    line.append(time, make("strong", job), make("span", words));
    get("log").prepend(line);
    while (get("log").children.length > LOGGED) get("log").lastChild.remove();
  };
  const showBoard = (news) => {
    document.title = `${news.name} · batchrunner`;
    get("title").textContent = news.name;
    if (news.is_all) { jobs.clear(); cards.clear(); get("cards").replaceChildren(); get("log").replaceChildren(); told = 0; }
    changes += 1;
    for (const job of news.jobs) {
      job.changed = news.is_all ? job.ended_at ?? 0 : Date.now() / 1000 + changes / 1000;
      jobs.set(job.n, job);
      if (job.state !== "failed" && job.state !== "canceled") chosen.delete(job.n);
      const card = cards.get(job.n);
      if (card) {
        const made = build(job);
        const hadFocus = card.contains(document.activeElement) && document.activeElement.className;
        card.replaceWith(made);
        cards.set(job.n, made);
        if (hadFocus) made.getElementsByClassName(hadFocus)[0]?.focus();
      }
    }
    for (const line of news.log) addLine(line.at, line.job, line.text);
    showSummary(news.summary);
    if (news.jobs.length || news.is_all) arrange();
  };

  // --- actions: first what it would do and cost, then the deed ----------------------------------------------------
  const TITLES = { pause: "Pause buying", resume: "Resume buying", cancel: "Call off the retry", retry: "Retry what failed", "retry-chosen": "Retry selected" };
  let ticket = null;
  const ask = async (action) => {
    get("ask-title").textContent = TITLES[action];
    get("ask-lines").replaceChildren(make("p", "looking what it would cost …"));
    get("ask-yes").hidden = true;
    get("ask").showModal();
    try {
      const body = action === "retry-chosen" ? { action: "retry", jobs: Array.from(chosen) } : { action };
      const answer = await post(`${base}/ask`, body);
      ticket = answer.ticket;
      get("ask-lines").replaceChildren(...answer.lines.map((line) => make("p", line)));
      get("ask-yes").textContent = TITLES[action];
      get("ask-yes").disabled = false;
      get("ask-yes").hidden = false;
    } catch (error) {
      get("ask-lines").replaceChildren(make("p", error.message, "why"));
    }
  };
  const act = async () => {
    get("ask-yes").disabled = true;
    try {
      const done = await post(`${base}/do`, { ticket });
      get("ask-lines").replaceChildren(make("p", done.said));
      chosen.clear();
      showChosen();
    } catch (error) {
      get("ask-lines").replaceChildren(make("p", error.message, "why"));
    }
    get("ask-yes").hidden = true;
    get("ask-no").textContent = "Close";
    get("ask-no").focus();
  };
  get("ask-yes").addEventListener("click", act);
  get("ask-no").addEventListener("click", () => get("ask").close());
  get("ask").addEventListener("close", () => { get("ask-no").textContent = "Leave it"; ticket = null; });
  get("story-close").addEventListener("click", () => get("story").close());
  get("play-close").addEventListener("click", () => get("play").close());
  get("play").addEventListener("close", () => get("play-stage").replaceChildren());
  for (const button of document.querySelectorAll(".act[data-action]")) button.addEventListener("click", () => ask(button.dataset.action));

  get("controls").addEventListener("submit", (event) => event.preventDefault());
  get("controls").addEventListener("input", () => { shownPage = 0; arrange(); });
  get("back").addEventListener("click", () => { shownPage -= 1; arrange(); });
  get("on").addEventListener("click", () => { shownPage += 1; arrange(); });

  const begin = async () => {
    if (token) await post("/session").catch((error) => complain(error.message));
    const found = location.pathname.match(/^\/m\/([0-9a-f]+)$/);
    get(found ? "board" : "overview").hidden = false;
    get("home").hidden = !found;
    if (!found) { listen("/api/overview/events", showOverview); return; }
    base = `/api/m/${found[1]}`;
    listen(`${base}/events`, showBoard);
  };
  begin();
})();

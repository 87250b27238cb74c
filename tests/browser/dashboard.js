// The dashboard in a real browser: node dashboard.js URL TOKEN DIRECTORY RPM; needs playwright-core in NODE_PATH, Chromium,
// and RPM_HOME. Says `ok` at the end; pictures of what it saw are in the directory.
"use strict";
const assert = require("node:assert");
const { chromium } = require("playwright-core");

const { execFileSync } = require("node:child_process");

const [url, token, directory, program] = process.argv.slice(2);
const rpm = (...words) => execFileSync(program, words, { encoding: "utf8" });
const picture = (page, name) => page.screenshot({ path: `${directory}/${name}.png`, fullPage: true });

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage({ viewport: { width: 1100, height: 800 } });
    const troubles = [];
    const foreign = [];
    page.on("pageerror", (error) => troubles.push(String(error)));
    page.on("console", (message) => {
      // That nobody is logged in yet is told by a 401, which the browser notes.
      if (message.type() === "error" && !message.text().includes("401")) troubles.push(message.text());
    });
    page.on("request", (request) => { if (!request.url().startsWith(url)) foreign.push(request.url()); });

    const logIn = async (words) => {
      await page.fill("#token", words);
      await page.click("#login button");
    };
    await page.goto(url);
    await logIn("wrong");
    await page.locator("#login-error").getByText("this token is wrong").waitFor();
    await logIn(token);
    const web = page.locator("[data-app=web]");
    await web.getByText("2/2 up").waitFor();
    await picture(page, "wide");

    // A restart asks first, and does nothing when it is refused.
    const pids = () => web.locator("tbody tr td:nth-child(7)").allTextContents();
    const before = await pids();
    await web.getByRole("button", { name: "restart", exact: true }).click();
    await page.locator("#ask").getByText("Cancel").click();
    assert.deepEqual(await pids(), before);
    await web.getByRole("button", { name: "restart", exact: true }).click();
    await page.click("#ask-yes");
    await page.getByText("restart web: done").waitFor();
    await page.waitForFunction((old) => {
      const now = [...document.querySelectorAll("[data-app=web] tbody tr td:nth-child(7)")].map((cell) => cell.textContent);
      return now.length === old.length && now.every((pid) => !old.includes(pid));
    }, before);

    await web.getByRole("button", { name: "scale", exact: true }).click();
    await page.fill("#ask-value", "3");
    await page.click("#ask-yes");
    await web.getByText("3/3 up").waitFor();

    // What the picture is drawn anew for once a second loses neither a press that lasts nor what is marked.
    const restart = web.getByRole("button", { name: "restart", exact: true });
    for (let press = 0; press < 12; press += 1) {
      await restart.hover();
      await page.mouse.down();
      await page.waitForTimeout(150);
      await page.mouse.up();
      await page.locator("#ask").getByText("Cancel").click({ timeout: 2000 });
    }
    const cell = web.locator("tbody tr td:nth-child(7)").first();
    await cell.evaluate((node) => getSelection().selectAllChildren(node));
    await page.evaluate(() => new Promise((done) => {
      let pictures = 0;
      stream.addEventListener("apps", () => { pictures += 1; if (pictures === 3) done(); });
    }));
    assert.equal(await page.evaluate(() => getSelection().toString()), await cell.textContent());

    // Stopped it can be started, as a whole and worker by worker.
    await web.getByRole("button", { name: "stop", exact: true }).click();
    await page.click("#ask-yes");
    await web.getByText("0/3 up").waitFor();
    await web.getByRole("button", { name: "start", exact: true }).click();
    await page.click("#ask-yes");
    await web.getByText("3/3 up").waitFor();
    await web.locator(".name").click();
    const facts = page.locator("#facts .row");
    await facts.nth(1).getByText("is online").waitFor();
    await facts.nth(1).getByRole("button", { name: "stop", exact: true }).click();
    await page.click("#ask-yes");
    await web.getByText("2/3 up").waitFor();
    await facts.nth(1).getByText("is stopped").waitFor();
    await facts.nth(1).getByRole("button", { name: "start", exact: true }).click();
    await page.click("#ask-yes");
    await web.getByText("3/3 up").waitFor();
    await facts.first().getByRole("button", { name: "signal", exact: true }).click();
    await page.fill("#ask-value", "kill");
    await page.press("#ask-value", "Enter");
    await page.getByText("signal web: done").waitFor();
    await page.locator("#crashes summary").click();
    await page.locator("#crash-list").getByText("SIGKILL").first().waitFor();
    await web.getByText("3/3 up").waitFor();
    await picture(page, "facts");

    // Who did it is told of what happens now, too.
    rpm("restart", "talker");
    await page.locator("#events li", { hasText: "command · restart · by" }).filter({ hasText: "rpm restart talker" }).waitFor();

    // The live log shows what is written after it was opened, and markup as text.
    await page.locator("[data-app=talker] .name").click();
    await page.locator("#log").getByText("<b>line").first().waitFor();
    const count = () => page.locator("#log span").count();
    const shown = await count();
    await page.waitForFunction((old) => document.querySelectorAll("#log span").length > old, shown);
    assert.equal(await page.locator("#log b").count(), 0);
    // A level line has no height, which counts as invisible.
    await page.waitForSelector("#charts svg path[d^=M]", { state: "attached" });
    assert.ok(await page.locator("#events li").count() > 3);
    await picture(page, "details");

    // A job runs when it is told to.
    const once = page.locator("[data-app=once]");
    await once.locator(".name").click();
    await once.getByRole("button", { name: "run", exact: true }).click();
    await page.click("#ask-yes");
    await page.getByText("run once: done").waitFor();
    await page.locator("#log").getByText("ran").waitFor();

    await page.fill("#filter", "talker");
    await page.waitForFunction(() => document.querySelectorAll("#apps article").length === 1);
    await page.fill("#filter", "");

    // As wide as a phone: nothing sticks out.
    await page.setViewportSize({ width: 390, height: 740 });
    await page.waitForFunction(() => document.documentElement.scrollWidth <= 390);
    await picture(page, "phone");
    await page.setViewportSize({ width: 1100, height: 800 });

    // A daemon that hangs is told, and that the picture is old.
    const daemon = await page.evaluate(() => all.daemon.pid);
    process.kill(daemon, "SIGSTOP");
    try {
      await page.locator("#link").getByText("the daemon does not answer").waitFor();
      await picture(page, "hung");
    } finally {
      process.kill(daemon, "SIGCONT");
    }
    await page.waitForFunction(() => document.getElementById("link").textContent === "");

    // After a restart of the server nobody is logged in: the page says so instead of showing what was.
    rpm("restart", "rpm-web");
    await page.waitForSelector("#login:not([hidden])");
    await logIn(token);
    await web.getByText("3/3 up").waitFor();
    rpm("stop", "web");
    await web.getByText("0/3 up").waitFor();

    await page.click("#leave");
    await page.waitForSelector("#login:not([hidden])");
    assert.deepEqual([troubles.filter((text) => !text.includes("ERR_INCOMPLETE_CHUNKED")), foreign], [[], []]);
    console.log("ok");
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});

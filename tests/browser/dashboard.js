// The dashboard in a real browser: node dashboard.js URL TOKEN DIRECTORY; needs playwright-core in NODE_PATH and Chromium.
// Says `ok` at the end; pictures of what it saw are in the directory.
"use strict";
const assert = require("node:assert");
const { chromium } = require("playwright-core");

const [url, token, directory] = process.argv.slice(2);
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

    await page.goto(url);
    await page.fill("#token", "wrong");
    await page.click("#login button");
    await page.waitForSelector("#login-error:not(:empty)");
    await page.fill("#token", token);
    await page.click("#login button");
    const web = page.locator("[data-app=web]");
    await web.getByText("2/2 up").waitFor();
    await picture(page, "wide");

    // A restart asks first, and does nothing when it is refused.
    const pids = () => web.locator("tbody tr td:nth-child(7)").allTextContents();
    const before = await pids();
    await web.getByText("restart", { exact: true }).click();
    await page.locator("#ask").getByText("Cancel").click();
    assert.deepEqual(await pids(), before);
    await web.getByText("restart", { exact: true }).click();
    await page.click("#ask-yes");
    await page.getByText("restart web: done").waitFor();
    await page.waitForFunction((old) => {
      const now = [...document.querySelectorAll("[data-app=web] tbody tr td:nth-child(7)")].map((cell) => cell.textContent);
      return now.length === old.length && now.every((pid) => !old.includes(pid));
    }, before);

    await web.getByText("scale", { exact: true }).click();
    await page.fill("#ask-count", "3");
    await page.click("#ask-yes");
    await web.getByText("3/3 up").waitFor();

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

    await page.fill("#filter", "talker");
    await page.waitForFunction(() => document.querySelectorAll("#apps article").length === 1);
    await page.fill("#filter", "");

    // As wide as a phone: nothing sticks out.
    await page.setViewportSize({ width: 360, height: 740 });
    await page.waitForFunction(() => document.documentElement.scrollWidth <= 360);
    await picture(page, "phone");

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

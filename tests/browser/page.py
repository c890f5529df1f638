"""The inspector's page in a real browser: Chromium without a window, driven by selenium."""
import json
import shutil

import harness

SCREENS = harness.ROOT / "build" / "screens"
WIDE, PHONE = (1280, 800), (390, 844)


def is_installed():
    try:
        import selenium  # noqa: F401
    except ImportError:
        return False
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Page:
    """Elements are asked for by what a reader sees; every wait has an end."""

    def __init__(self, directory):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
        options = webdriver.ChromeOptions()
        for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu",
                     "disable-background-networking", "disable-component-update", "no-first-run",
                     "enable-precise-memory-info", "force-device-scale-factor=1",
                     f"user-data-dir={directory}/chromium"):
            options.add_argument("--" + word)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")),
                                       options=options)
        self.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        self.requests, self.console = [], []
        self.size(*WIDE)

    def close(self):
        self.driver.quit()

    # --- what a person does ---

    def open(self, address):
        self.driver.get(address)

    def size(self, width, height):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})

    def prefer(self, scheme):
        """"light" or "dark", as the desktop says it; no movement, so that pictures are the same."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def click(self, selector, text=None):
        """What is drawn anew between the look and the click was not clicked: looks again."""
        from selenium.common.exceptions import StaleElementReferenceException

        def try_click():
            element = self.find(selector, text)
            if not element:
                return False
            try:
                element.click()
            except StaleElementReferenceException:
                return False
            return True
        self.wait(f"{selector} {text or ''}", try_click)

    def type(self, selector, text):
        element = self.find(selector)
        element.clear()
        element.send_keys(text)

    # --- what a person sees ---

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def find(self, selector, text=None):
        """The first visible one, whose text holds `text`; None where there is none."""
        return self.run("""
            return [...document.querySelectorAll(arguments[0])].find(e => e.checkVisibility({
                visibilityProperty: true }) && (arguments[1] === null ||
                e.textContent.includes(arguments[1]))) ?? null""", selector, text)

    def text(self, selector="body"):
        return self.run("""
            return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())
                .map(e => e.innerText).join("\\n")""", selector)

    def rows(self):
        """What the list shows, from the top: its texts by column."""
        return self.run("""
            return [...document.querySelectorAll("#list [role=option]")]
                .filter(e => e.checkVisibility())
                .sort((a, b) => a.getAttribute("aria-posinset") - b.getAttribute("aria-posinset"))
                .map(e => Object.fromEntries([...e.children].map(c => [c.className, c.textContent])))""")

    def wait(self, what, condition, seconds=20):
        return harness.wait_for(what, condition, seconds)

    def wait_for(self, text, selector="body", seconds=20):
        try:
            self.wait(text, lambda: text in self.text(selector), seconds)
        except AssertionError as error:
            raise AssertionError(f"{text!r} is not in: {self.text(selector)}") from error

    def picture(self, name):
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENS / f"{name}.png"))

    # --- what a person does not see ---

    def read_logs(self):
        """Adds what was asked for, and what the console says, since the last time."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"])
        self.console += self.driver.get_log("browser")

    def figure(self, name):
        metrics = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(m["value"] for m in metrics if m["name"] == name)

    def weight(self):
        """DOM nodes and bytes of JavaScript's heap, after the garbage is collected."""
        self.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        return (self.run("return document.querySelectorAll('*').length"),
                self.figure("JSHeapUsedSize"))

    def cpu_seconds(self):
        """What the page's own thread has computed."""
        return self.figure("TaskDuration")

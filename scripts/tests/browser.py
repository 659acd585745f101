"""Headless Chromium, driven as a person would use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as conditions
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 30
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


@contextmanager
def open_browser(width: int = 1440, height: int = 900) -> Iterator[webdriver.Chrome]:
    """Give a browser, with the system's own driver."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        yield browser
    finally:
        browser.quit()


def click(browser: webdriver.Chrome, path: str) -> None:
    """Click what an XPath finds, as soon as it can be clicked."""
    WebDriverWait(browser, WAIT_S).until(conditions.element_to_be_clickable((By.XPATH, path))).click()


def find(browser: webdriver.Chrome, path: str) -> str:
    """Return the text of what an XPath finds, as soon as it shows."""
    found = WebDriverWait(browser, WAIT_S).until(conditions.visibility_of_element_located((By.XPATH, path)))
    return str(found.text)


def log_in(browser: webdriver.Chrome, url: str, user: str, password: str) -> None:
    """Log in to MinIO's console, and close what it says of its licence."""
    browser.get(f"{url}/login")
    field = WebDriverWait(browser, WAIT_S).until(conditions.presence_of_element_located((By.ID, "accessKey")))
    field.send_keys(user)
    browser.find_element(By.ID, "secretKey").send_keys(password)
    click(browser, "//button[@type='submit']")
    WebDriverWait(browser, WAIT_S).until(conditions.url_contains("/browser"))
    click(browser, "//button[contains(., 'cknowledge')]")
    WebDriverWait(browser, WAIT_S).until(
        conditions.invisibility_of_element_located((By.XPATH, "//button[contains(., 'cknowledge')]"))
    )


def take_picture(browser: webdriver.Chrome, path: Path) -> None:
    """Save a screenshot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(path))
